import fc from "fast-check";
import { expect, test } from "vitest";
import { SessionCursor } from "../../../broker/sessions/session-cursor.ts";
import type { CursorRecord, SessionDelivery } from "../../../broker/sessions/session-delivery.ts";
import type { LoggedPublication } from "../../../platform/publication-log.ts";
import { turn, WINDOW, World } from "./cursor-model.ts";

/** Steps with their weights. */
const WEIGHTS: Record<string, number> = {
  ...{ publish: 36, connect: 9, start: 14, disconnect: 4, written: 24, clientReads: 24, serverReads: 24 },
  ...{ read: 12, defer: 12, store: 4, durable: 14, trim: 9, forgetRecent: 3, kill: 4, subscribe: 3, unsubscribe: 1 },
  ...{ fill: 2, drain: 5, refuse: 1, refuseInHook: 1, tick: 3 },
};

const step = fc.tuple(
  fc.oneof(...Object.entries(WEIGHTS).map(([name, weight]) => ({ weight, arbitrary: fc.constant(name) }))),
  fc.nat({ max: 1_000 }),
);
const settings = fc.record({ deliversAtOnce: fc.boolean(), pageSize: fc.integer({ min: 1, max: 5 }) });

async function run(world: World, steps: readonly (readonly [string, number])[]): Promise<void> {
  for (const [name, n] of steps) {
    world.steps[name]?.(n);
    await turn();
    expect(world.cursor.open).toBeLessThanOrEqual(WINDOW);
  }
  await world.settle();
}

function firstPositions(deliveries: readonly { position: number; qos: 1 | 2 }[], qos: 1 | 2): number[] {
  return [...new Set(deliveries.filter((one) => one.qos === qos).map(({ position }) => position))];
}

test("a session gets everything, in order, and at QoS 2 exactly once, whatever happens on the way", async () => {
  await fc.assert(
    fc.asyncProperty(settings, fc.array(step, { minLength: 20, maxLength: 300 }), async (given, steps) => {
      const world = new World(given);
      // A subscription to everything. Every fourth is one without the client's own publications, with an identifier.
      const options = steps.length % 4 === 0 ? 48 : 0;
      await run(world, [
        ["connect", 0],
        ["start", 0],
        ["subscribe", 2 + 4 * (steps.length % 3) + options],
        ["durable", 0],
        ...steps,
      ]);
      const { delivered } = world.client;
      const times = new Map<number, number>();
      for (const { position } of delivered) times.set(position, (times.get(position) ?? 0) + 1);
      for (const { position, isAllowed, isNecessary, qos } of world.expected.values()) {
        const count = times.get(position) ?? 0;
        if (isNecessary) expect(count, `position ${position} is lost`).toBeGreaterThan(0);
        if (!isAllowed) expect(count, `position ${position} is not for the session`).toBe(0);
        if (qos === 2) expect(count, `position ${position} is repeated`).toBeLessThanOrEqual(1);
      }
      for (const qos of [1, 2] as const) {
        // What was refused once may be delivered later, as may what changed its QoS.
        const first = firstPositions(delivered, qos).filter((position) => {
          const expected = world.expected.get(position);
          return expected?.isNecessary === true && expected.qos === qos;
        });
        expect(first, `QoS ${qos} is out of order`).toEqual([...first].sort((a, b) => a - b));
      }
      expect(world.problems).toEqual([]);
      expect(world.cursor.isLive).toBe(true);
      expect(world.cursor.open).toBe(0);
    }),
    { numRuns: 300 },
  );
});

/** A session that is subscribed to everything at QoS 2, with one publication at the client. */
const RECEIVED = ["connect", "start", "subscribe", "durable", "publish", "written", "clientReads"];

async function scenario(names: readonly string[]): Promise<World> {
  const world = new World({ deliversAtOnce: false, pageSize: 5 });
  // The number 6 means: filter "#", topic "a", QoS 2.
  await run(
    world,
    [...RECEIVED, ...names].map((name) => [name, name === "publish" ? 9 : 6] as const),
  );
  return world;
}

test("a publication stays in the log while a newer connection will send it again, although its PUBREC is stored", async () => {
  const { client } = await scenario(["serverReads", "disconnect", "connect", "durable", "trim", "forgetRecent"]);
  expect(client.delivered.length).toBe(1);
});

test("a publication whose PUBREC comes before it is sent again is not sent again", async () => {
  const { client } = await scenario(["disconnect", "connect", "earlyPubrec", "serverReads", "durable", "clientReads"]);
  expect(client.delivered.length).toBe(1);
});

/** A session with this record in a log of as many publications as are given, whose client is connected. */
function connectedTo(open: CursorRecord["open"], count: number) {
  const publications = Array.from({ length: count }, (_, index): LoggedPublication => {
    return { position: index + 1, topic: "a", payload: Buffer.from("x"), qos: 1, retain: false };
  });
  const recent = (after: number) => ({ publications: publications.slice(after), next: count });
  const cursor = new SessionCursor(
    { sent: count, open, filters: [] },
    {
      key: "user:alice",
      ...{ log: { recent, read: async (after) => recent(after) }, edge: () => count, window: 2, maxUnwritten: 100 },
      ...{ wantsReceipt: () => false, onChange: () => {}, onMissing: () => {}, onReadFailed: () => {}, now: () => 0 },
    },
  );
  const sent: string[] = [];
  const send = ({ publication, messageId, dup }: SessionDelivery) =>
    void sent.push(`${publication.position} as ${messageId}${dup ? " again" : ""}`);
  const connection = { isFull: false, mayReceive: () => true, send };
  cursor.connect(connection);
  cursor.start(connection);
  return { cursor, connection, sent };
}

test("publications of an earlier version that were not sent follow within the window, when their ids are free", () => {
  // The usual id of a position is the position plus one.
  const record: CursorRecord["open"] = [
    [1, 1, 0, 4],
    [2, 1, 0, 0],
    [3, 1, 0, 0],
    [4, 1, 0, 0],
  ];
  const { cursor, connection, sent } = connectedTo(record, 4);
  expect(sent).toEqual(["1 as 4 again", "2 as 3"]);
  cursor.acknowledge(connection, 3);
  expect(sent.slice(2)).toEqual([]);
  cursor.acknowledge(connection, 4);
  expect(sent.slice(2)).toEqual(["3 as 4", "4 as 5"]);
  expect(cursor.record().open).toEqual([
    [3, 1, 0],
    [4, 1, 0],
  ]);
});
