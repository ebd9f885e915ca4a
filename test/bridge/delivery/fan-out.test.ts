import { expect, it } from "vitest";
import { channelFilterOf } from "../../../bridge/delivery/channel-filter.ts";
import { FanOut } from "../../../bridge/delivery/fan-out.ts";
import type { LiveSubscriber } from "../../../bridge/delivery/subscriber-group.ts";
import type { Entry } from "../../../bridge/journal/journal.ts";
import { logger } from "../websocket/server.ts";

const MAX_QUEUED_BYTES = 1_000;

/** A subscriber that records its writes and each time it falls behind. */
function subscriberWith(writableLength: number) {
  const writes: Buffer[] = [];
  const fellBehindAt: number[] = [];
  const socket = { writableLength, write: (frames: Buffer) => writes.push(frames) > 0 };
  const sink = {
    names: { connection: "a", user: undefined },
    socket,
    open: true,
    blocked: false,
    write: () => {},
    send: () => {},
    close: () => {},
  };
  const subscriber: LiveSubscriber = { sink, fallBehind: (after) => fellBehindAt.push(after) };
  return { subscriber, writes, fellBehindAt };
}

function startFanOut(flushIntervalMs: number) {
  let append: (entries: readonly Entry[]) => void = () => {};
  const follow = (onEntries: typeof append) => {
    append = onEntries;
    return () => {};
  };
  const journal = { head: 0, follow };
  const fanOut = new FanOut({ journal, flushIntervalMs, maxQueuedBytes: MAX_QUEUED_BYTES, logger });
  fanOut.start();
  return { fanOut, append: (position: number) => append([entryAt(position)]) };
}

function entryAt(position: number): Entry {
  const fields = { topic: "t", channels: ["dashboard"], camera: undefined, body: '"event":"a.b"' };
  return { position, ...fields, state: undefined, acceptedAt: 0 };
}

const filter = channelFilterOf(["dashboard"], undefined);

it("fan-out delivers to a subscriber that joins a group at the moment when the other members fall behind", () => {
  const { fanOut, append } = startFanOut(60_000);
  const full = subscriberWith(MAX_QUEUED_BYTES);
  const other = subscriberWith(0);
  fanOut.join(full.subscriber, filter);
  // The first flush is immediate and finds the socket full. The next flush is a minute later.
  append(1);
  expect(full.fellBehindAt).toEqual([0]);
  fanOut.join(full.subscriber, filter);
  append(2);
  fanOut.join(other.subscriber, filter);
  expect(full.fellBehindAt).toEqual([0, 1]);
  append(3);
  fanOut.stop();
  expect(other.writes).toHaveLength(1);
});

it("fan-out sends the pending events to a subscriber that leaves, and no later events", () => {
  const { fanOut, append } = startFanOut(60_000);
  const { subscriber, writes } = subscriberWith(0);
  const member = fanOut.join(subscriber, filter);
  append(1);
  append(2);
  expect(writes).toHaveLength(1);
  expect(fanOut.leave(member)).toBe(2);
  append(3);
  fanOut.stop();
  expect(writes).toHaveLength(2);
  expect(fanOut.stats().groups).toBe(0);
});
