import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createRedisPlace } from "../../bridge/journal/redis-place.ts";
import { LONG, TIMEOUT_MS, WAIT_MS } from "../../support/long-form.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { TwoNodes } from "./two-nodes-model.ts";

const RUNS = LONG ? 150 : 3;
const MAX_STEPS = LONG ? 60 : 30;
/** Steps with their weights. */
const WEIGHTS: Record<string, number> = { publish: 12, read: 14, connect: 5, disconnect: 2, kill: 2, wait: 6 };

let server: RedisServer;

beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.remove());

const step = fc.tuple(
  fc.oneof(...Object.entries(WEIGHTS).map(([name, weight]) => ({ weight, arbitrary: fc.constant(name) }))),
  fc.nat({ max: 100 }),
);

async function run(steps: readonly (readonly [string, number])[]): Promise<void> {
  const place = await createRedisPlace(server.url);
  const nodes = new TwoNodes(place, Number(new URL(server.url).port));
  try {
    await nodes.start();
    for (const [name, at] of steps) await nodes.steps[name]?.(at);
    const isComplete = () => nodes.expected.every(({ n }) => nodes.delivered.includes(n));
    await nodes.settle(isComplete, WAIT_MS);
    const { expected, delivered } = nodes;
    for (const { n, qos } of expected) {
      const count = delivered.filter((one) => one === n).length;
      expect(count, `publication ${n} is lost`).toBeGreaterThan(0);
      if (qos === 2) expect(count, `publication ${n} is repeated`).toBe(1);
    }
    const order = expected.map(({ n }) => n);
    const first = [...new Set(delivered)].filter((n) => order.includes(n));
    expect(first).toEqual(order);
  } finally {
    await place.dispose();
  }
}

test(
  "a client that moves between two nodes, which are killed, gets everything, in order, and at QoS 2 once",
  async () => {
    const steps = fc.array(step, { minLength: 10, maxLength: MAX_STEPS });
    await fc.assert(fc.asyncProperty(steps, run), { numRuns: RUNS, endOnFailure: true });
  },
  TIMEOUT_MS,
);
