import fc from "fast-check";
import type { Logger } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { startLinkGaps } from "../../../bridge/cameras/link-gaps.ts";
import { countOf, DEFAULT_GAP_LIMITS, SequenceTracker } from "../../../bridge/cameras/sequence-gaps.ts";
import type { LinkGap } from "../../../contract/events.ts";
import { recordingLogger } from "../support/recording-logger.ts";
import { envelope, logger, openPlace, type Place, START, stopTheClock, tree } from "./alerts-place.ts";

const MINUTE = 60_000;
const GAP_TOPIC = "cameras/north/events/link.gap";
const STATE_TOPIC = "cameras/north/state/gaps";
let place: Place;
let running: { stop(): Promise<void> } | undefined;

beforeEach(async () => {
  stopTheClock();
  place = await openPlace();
  await watch();
});

afterEach(() => running?.stop());

async function watch(
  options: { settleMs?: number; maxWaitMs?: number; maxGaps?: number; logger?: Logger } = {},
): Promise<void> {
  const { journal, cluster, ingest } = place;
  const publish = ingest.publish.bind(ingest);
  running = await startLinkGaps({ journal, documents: cluster.documents, tree, publish, logger, ...options });
}

async function restart(): Promise<void> {
  await running?.stop();
  await place.restart();
  await watch();
}

/** One message with a number. */
function send(seq: number, more: { session?: string; historical?: boolean; event?: string } = {}): Promise<void> {
  const { event = "capture.completed", ...rest } = more;
  return place.say(`cameras/north/events/${event}`, envelope(event, {}, { seq, ...rest }));
}

const birth = (session = "s1") =>
  place.say("cameras/north/link", envelope("camera.link", { status: "online", session }, { session }));

async function sendAll(from: number, to: number, historical = false): Promise<void> {
  for (let seq = from; seq <= to; seq++) await send(seq, historical ? { historical } : {});
}

/** Nothing here waits for a timer: a gap is settled by the messages that follow it. */
const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);

async function gaps(): Promise<LinkGap[]> {
  await place.settled();
  return place.said(GAP_TOPIC).map(({ data }) => data as LinkGap);
}

const listed = (): unknown => {
  const state = place.journal.state(`${tree.root}/${STATE_TOPIC}`);
  return state === undefined ? undefined : JSON.parse(`{${state.body}}`).data.gaps;
};

describe("a jump in a camera's numbers", () => {
  it("is no gap while what is missing may still come", async () => {
    await sendAll(1, 5);
    await send(9);
    pass(DEFAULT_GAP_LIMITS.settleMs - 1);
    await send(10);
    expect(await gaps()).toEqual([]);
  });

  it("is said once when nothing more is to be expected, with how many, between when, and which", async () => {
    await place.say("cameras/north/state/presence", {
      status: "online",
      since: "2026-03-12T03:00:00Z",
      session: "boot",
    });
    await sendAll(1, 5);
    pass(15 * MINUTE);
    await send(18);
    pass(3 * MINUTE);
    await send(19);
    const gap = {
      ...{ reason: "missing", count: 12, first_seq: 6, last_seq: 17, session: "boot" },
      ...{ from: "2026-03-12T03:10:00.000Z", to: "2026-03-12T03:25:00.000Z" },
    };
    expect(await gaps()).toEqual([gap]);
    expect(listed()).toEqual([gap]);
    pass(60 * MINUTE);
    await sendAll(20, 25);
    expect(await gaps()).toHaveLength(1);
  });

  it("that is filled in time is never said, in whatever order the backlog comes", async () => {
    await sendAll(1, 5);
    await send(21);
    for (const seq of [20, 6, 19, 7, 8, 9, 10, 18, 17, 16, 11, 12, 15, 14, 13]) await send(seq, { historical: true });
    pass(60 * MINUTE);
    await send(22);
    expect(await gaps()).toEqual([]);
  });

  it("waits for as long as a backlog arrives, but not for ever", async () => {
    await sendAll(1, 5);
    await send(1000);
    for (let seq = 7; seq < 60; seq++) {
      pass(MINUTE);
      await send(seq, { historical: true });
    }
    expect(await gaps()).toEqual([]);
    for (let seq = 60; seq < 70; seq++) {
      pass(MINUTE);
      await send(seq, { historical: true });
    }
    expect(await gaps()).toMatchObject([{ first_seq: 6, last_seq: 999 }]);
  });

  it("is not said of a camera that says nothing: it may still have it", async () => {
    await sendAll(1, 5);
    await send(9);
    pass(24 * 60 * MINUTE);
    expect(await gaps()).toEqual([]);
  });

  it("is not said because the link was gone for hours: who comes back sends its present before its backlog", async () => {
    await sendAll(1, 5);
    await send(9);
    pass(5 * 60 * MINUTE);
    await birth();
    await send(10);
    expect(await gaps()).toEqual([]);
    await sendAll(6, 8, true);
    pass(60 * MINUTE);
    await send(11);
    expect(await gaps()).toEqual([]);
    // What it does not send then, it does not have.
    await send(13);
    pass(5 * 60 * MINUTE);
    await birth();
    await send(14);
    pass(3 * MINUTE);
    await send(15);
    expect(await gaps()).toMatchObject([{ first_seq: 12, last_seq: 12 }]);
  });

  it("is said to be filled when all of it has come after all, and is no longer listed", async () => {
    await sendAll(1, 5);
    await send(8);
    pass(3 * MINUTE);
    await send(9);
    expect(await gaps()).toMatchObject([{ count: 2, first_seq: 6, last_seq: 7 }]);
    await send(6, { historical: true });
    expect(await gaps()).toHaveLength(1);
    await send(7, { historical: true });
    expect(await gaps()).toMatchObject([{ count: 2 }, { count: 2, first_seq: 6, last_seq: 7, filled: true }]);
    expect(listed()).toBeUndefined();
  });

  it("over the replies to commands, which no dashboard sees, is none", async () => {
    await sendAll(1, 5);
    await place.say("cameras/north/replies/capture.now", envelope("command.reply", {}, { seq: 6 }));
    await send(7);
    pass(3 * MINUTE);
    await send(8);
    expect(await gaps()).toEqual([]);
  });

  it("is of that camera alone", async () => {
    await sendAll(1, 5);
    await place.say("cameras/south/events/x", envelope("x", {}, { seq: 900 }));
    await send(6);
    pass(3 * MINUTE);
    await send(7);
    expect(await gaps()).toEqual([]);
  });
});

describe("another outbox", () => {
  it("that begins to count anew is no gap, and what the old one still owed is", async () => {
    await sendAll(1, 40);
    await send(50);
    for (let seq = 1; seq < 5; seq++) await send(seq, { session: "s2" });
    expect(await gaps()).toMatchObject([{ first_seq: 41, last_seq: 49 }]);
    pass(3 * MINUTE);
    await send(5, { session: "s2" });
    expect(await gaps()).toHaveLength(1);
  });

  it("whose first message was not the first to come is known, too", async () => {
    await sendAll(1, 40);
    for (const seq of [3, 1, 2, 4]) await send(seq, { session: "s2" });
    pass(3 * MINUTE);
    await send(5, { session: "s2" });
    expect(await gaps()).toEqual([]);
  });
});

describe("what a camera dropped", () => {
  const dropped = { count: 12, from: "2026-03-12T03:10:00.000Z", to: "2026-03-12T03:25:00.000Z" };

  it("is said at once, and listed", async () => {
    await place.say("cameras/north/events/outbox.dropped", envelope("outbox.dropped", dropped, { seq: 1 }));
    expect(await gaps()).toEqual([{ reason: "dropped", ...dropped }]);
    expect(listed()).toEqual([{ reason: "dropped", ...dropped }]);
  });

  it("is not said again when the camera says it again", async () => {
    for (const seq of [1, 2])
      await place.say("cameras/north/events/outbox.dropped", envelope("outbox.dropped", dropped, { seq }));
    expect(await gaps()).toHaveLength(1);
    expect(listed()).toHaveLength(1);
  });

  it("in words that nobody understands is nothing", async () => {
    await place.say("cameras/north/events/outbox.dropped", envelope("outbox.dropped", { count: "many" }, { seq: 1 }));
    expect(await gaps()).toEqual([]);
  });

  it("is listed for 48 hours", async () => {
    await place.say("cameras/north/events/outbox.dropped", envelope("outbox.dropped", dropped, { seq: 1 }));
    await place.settled();
    pass(49 * 60 * MINUTE);
    const later = { count: 1, from: "2026-03-14T04:00:00.000Z", to: "2026-03-14T04:00:00.000Z" };
    await place.say("cameras/north/events/outbox.dropped", envelope("outbox.dropped", later, { seq: 2 }));
    await place.settled();
    expect(listed()).toEqual([{ reason: "dropped", ...later }]);
  });
});

describe("a restart", () => {
  it("forgets no number that came, and no gap that is open", async () => {
    await sendAll(1, 5);
    await send(9);
    await restart();
    await sendAll(10, 12);
    pass(3 * MINUTE);
    await send(13);
    expect(await gaps()).toMatchObject([{ first_seq: 6, last_seq: 8 }]);
  });

  it("in which a camera came back does not make its wait look long", async () => {
    await sendAll(1, 5);
    await send(9);
    await running?.stop();
    running = undefined;
    pass(5 * 60 * MINUTE);
    await place.restart();
    await birth();
    await watch();
    await send(10);
    await sendAll(6, 8, true);
    expect(await gaps()).toEqual([]);
  });

  it("does not say again what was said, and still knows when that is filled", async () => {
    await sendAll(1, 5);
    await send(7);
    pass(3 * MINUTE);
    await send(8);
    expect(await gaps()).toHaveLength(1);
    await restart();
    pass(3 * MINUTE);
    await send(9);
    expect(await gaps()).toEqual([]);
    await send(6, { historical: true });
    expect(await gaps()).toMatchObject([{ first_seq: 6, last_seq: 6, filled: true }]);
  });

  it("after a kill takes up what came since the last save, and calls nothing missing that it did not see", async () => {
    await sendAll(1, 5);
    await running?.stop();
    running = undefined;
    // Nobody watches: as between the last save and the end of a program that was killed.
    await sendAll(6, 9);
    await place.say("cameras/north/replies/capture.now", envelope("command.reply", {}, { seq: 10 }));
    await sendAll(11, 12);
    await place.restart();
    await watch();
    await sendAll(13, 14);
    pass(3 * MINUTE);
    await send(15);
    expect(await gaps()).toEqual([]);
    await send(17);
    pass(3 * MINUTE);
    await send(18);
    expect(await gaps()).toMatchObject([{ first_seq: 16, last_seq: 16 }]);
  });

  it("after which the journal does not go back far enough begins anew, and says nothing that it cannot know", async () => {
    await sendAll(1, 5);
    await running?.stop();
    running = undefined;
    await sendAll(20, 60);
    await place.restart({ retentionEvents: 10 });
    await place.journal.trim();
    await watch();
    await sendAll(61, 62);
    pass(3 * MINUTE);
    await send(63);
    expect(await gaps()).toEqual([]);
  });
});

it("two nodes that watch one journal say each gap once", async () => {
  const first = running;
  await watch();
  await sendAll(1, 5);
  await send(9);
  pass(3 * MINUTE);
  await send(10);
  expect(await gaps()).toHaveLength(1);
  expect(listed()).toHaveLength(1);
  await first?.stop();
});

it("two devices with one id have no gaps while they take turns, and the one that stays is watched again", async () => {
  await sendAll(1, 40);
  const next = { s1: 41, s2: 300 };
  for (let turn = 0; turn < 40; turn++) {
    const session = turn % 2 === 0 ? "s1" : "s2";
    await birth(session);
    for (let count = 0; count < 3; count++) await send(next[session]++, { session });
    pass(10 * 1000);
  }
  pass(3 * MINUTE);
  expect(await gaps()).toEqual([]);
  await sendAll(next.s1, next.s1 + 5);
  await send(next.s1 + 9);
  pass(3 * MINUTE);
  await send(next.s1 + 10);
  expect(await gaps()).toMatchObject([{ count: 3, first_seq: next.s1 + 6 }]);
});

it("a sender whose numbers count nothing is left alone", async () => {
  for (let n = 0; n <= DEFAULT_GAP_LIMITS.maxGaps + 1; n++) await send(START + n * 1000);
  pass(3 * MINUTE);
  await send(START * 2);
  expect(await gaps()).toEqual([]);
});

it("whatever the order, what is called missing is what did not come", () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.integer({ min: 20, max: 70 }), { minLength: 1, maxLength: 50 }),
      fc.integer({ min: 71, max: 75 }),
      (order, last) => {
        const sequence = new SequenceTracker({ ...DEFAULT_GAP_LIMITS, maxGaps: 100 });
        const message = { timestamp: "2026-03-12T03:10:00.000Z", historical: false, acceptedAt: 0 };
        for (const seq of [...order, last]) sequence.add({ ...message, seq });
        const changes = sequence.add({ ...message, seq: last + 1, acceptedAt: DEFAULT_GAP_LIMITS.maxWaitMs });
        const missing = changes.reduce((sum, { gap }) => sum + countOf(gap.runs), 0);
        // What was before the first one that was seen, nobody knows.
        const seen = new Set(order.filter((seq) => seq >= (order[0] ?? 0)));
        expect(missing).toBe(last - (order[0] ?? 0) - seen.size);
      },
    ),
  );
});

it("logs when it stops how many further gaps of a camera there were", async () => {
  const recording = recordingLogger();
  await running?.stop();
  await watch({ settleMs: 1000, logger: recording.logger });
  for (const seq of [1, 5, 6, 10, 11, 15, 16]) {
    await send(seq);
    pass(2 * MINUTE);
  }
  expect(await gaps()).toHaveLength(3);
  const told = () => recording.lines.filter(({ msg }) => msg === "camera gap published").map(({ times }) => times);
  expect(told()).toEqual([1]);
  await running?.stop();
  expect(told()).toEqual([1, 2]);
});
