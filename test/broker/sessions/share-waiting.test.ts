import { expect, it } from "vitest";
import { RowLedger } from "../../../broker/sessions/shares/row-ledger.ts";
import { ShareClient } from "../../../broker/sessions/shares/share-client.ts";
import { ShareGroup } from "../../../broker/sessions/shares/share-group.ts";
import type { LoggedPublication } from "../../../platform/publication-log.ts";

const WAITING = Array.from({ length: 1_000 }, (_, index) => index + 1);
const PAGE = 50;

interface Member {
  client: ShareClient;
  /** The positions that were sent, in order. */
  received: number[];
  /** How often the group has asked whether the member may receive a publication. */
  asked: number;
  acknowledge(position: number): void;
}

/** A group with a log, in which `mayReceive` decides by the member's key. */
function startGroup(mayReceive: (key: string, position: number) => boolean, waiting: readonly number[] = WAITING) {
  const record = {
    v: 1,
    identity: "user:alice",
    share: "workers",
    filter: "#",
    epoch: "e",
    sent: WAITING.length,
  } as const;
  const options = { epoch: () => "e", onChange: () => {}, store: async () => {} };
  const ledger = new RowLedger({ ...record, waiting: [...waiting], open: [], members: [["away", 1, 1]] }, 1e9, options);
  const expired = new Set<number>();
  /** Called during each read of a page. */
  const readings: (() => void)[] = [];
  const publicationAt = (position: number): LoggedPublication => ({
    ...{ position, topic: "a", payload: Buffer.alloc(0), qos: 1, retain: false },
    ...(expired.has(position) ? { expiresAt: 0 } : {}),
  });
  const read = async (after: number) => {
    for (const reading of readings.splice(0)) reading();
    const next = Math.min(after + PAGE, WAITING.length);
    const publications = Array.from({ length: next - after }, (_, index) => publicationAt(after + 1 + index));
    return { publications, next };
  };
  const group = new ShareGroup(ledger, {
    ...{ log: { recent: () => undefined, read }, edge: () => WAITING.length, wantsReceipt: () => false },
    ...{ mayReceive: () => true, maxWaiting: 10_000, onBehind: () => {}, onDropped: () => {}, now: () => 1 },
    onFailed: (error) => {
      throw error;
    },
  });
  let connections = 0;
  const join = async (key: string, window = 64): Promise<Member> => {
    const received: number[] = [];
    const client = new ShareClient(
      key,
      false,
      {
        ...{ window, isFull: false, isFree: () => true, close: () => {} },
        mayReceive: ({ position }) => {
          member.asked++;
          return mayReceive(key, position);
        },
        send: () => {
          for (const { assignment } of client.flights())
            if (!received.includes(assignment.position)) received.push(assignment.position);
        },
      },
      ++connections,
    );
    const acknowledge = (position: number) => {
      const flight = [...client.flights()].find(({ assignment }) => assignment.position === position);
      if (flight === undefined) throw new Error(`${key} does not have ${position}`);
      client.end(flight.assignment.messageId);
      ledger.close(flight.assignment);
      client.wake();
    };
    const member: Member = { client, received, asked: 0, acknowledge };
    await ledger.join(key, { qos: 1, isPersistent: false });
    group.add(client, { qos: 1 });
    return member;
  };
  return { group, ledger, join, expired, readings };
}

/** Resolves when the group has nothing to do. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
}

it("offers each publication that waits once to a member that may not receive it", async () => {
  const { group, join } = startGroup((_, position) => position === WAITING.length);
  const present = await join("present");
  await expect.poll(() => present.received).toEqual([WAITING.length]);
  expect(present.asked).toBe(WAITING.length);
  for (let wake = 0; wake < 10; wake++) {
    group.wake();
    await settled();
  }
  expect(present.asked).toBe(WAITING.length);
});

it("does not look at all that waits when a member acknowledges a publication", async () => {
  const { join } = startGroup((_, position) => position > WAITING.length - 10);
  const present = await join("present", 1);
  for (let position = WAITING.length - 9; position <= WAITING.length; position++) {
    await expect.poll(() => present.received.at(-1)).toBe(position);
    present.acknowledge(position);
  }
  expect(present.asked).toBeLessThan(WAITING.length + 100);
});

it("offers what waits to a member that joins, and what another member gives back to all", async () => {
  const { group, ledger, join } = startGroup(
    (key, position) => position === (key === "other" ? 20 : 10) || position === 30,
  );
  const first = await join("first");
  await expect.poll(() => first.received).toEqual([10, 30]);
  const other = await join("other");
  await expect.poll(() => other.received).toEqual([20]);
  group.lost(
    first.client,
    [...first.client.flights()].map(({ assignment }) => assignment),
  );
  await expect.poll(() => other.received).toEqual([20, 30]);
  expect(ledger.waiting).toContain(10);
});

it("gives a member what it had no room for, although the member gets room while the log is read", async () => {
  const { join, readings } = startGroup(
    (key, position) => (key === "narrow" ? [1, 2, 900].includes(position) : position === 1_000),
    [1, 2, 900, 1_000],
  );
  const narrow = await join("narrow", 1);
  await expect.poll(() => narrow.received).toEqual([1]);
  // The next read is for 900, which the second member is offered first.
  readings.push(
    () => {},
    () => narrow.acknowledge(1),
  );
  const wide = await join("wide");
  await expect.poll(() => wide.received).toEqual([1_000]);
  await expect.poll(() => narrow.received).toEqual([1, 2]);
  narrow.acknowledge(2);
  await expect.poll(() => narrow.received).toEqual([1, 2, 900]);
});

it("drops what has expired while it waited [MQTT-3.3.2-5]", async () => {
  const { expired, ledger, join } = startGroup(() => true, [1, 2, 3]);
  expired.add(2);
  const present = await join("present");
  await expect.poll(() => present.received).toEqual([1, 3]);
  expect(ledger.waiting).toEqual([]);
});
