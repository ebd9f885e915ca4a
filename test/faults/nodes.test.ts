import { afterEach, expect, it } from "vitest";
import { LONG, TIMEOUT_MS } from "../support/long-form.ts";
import { type Deployment, expectNothingLost, type Step, startDeployment } from "./deployment.ts";

const NODES = 3;
const DASHBOARDS = LONG ? 30 : 6;
const MESSAGES_PER_PUBLISHER = LONG ? 12_500 : 500;
/** How often each node and Redis are killed. */
const KILLS = LONG ? 5 : 1;

const cleanUps: (() => Promise<unknown> | unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

const killAll: Step[] = [
  ...Array.from({ length: NODES }, (_, index) => async ({ nodes, startNode }: Deployment) => {
    await nodes[index]?.end("SIGKILL");
    await startNode(index);
  }),
  async ({ redis }) => {
    await redis.stop("SIGKILL");
    await redis.start();
  },
];

const PLANS: readonly (readonly [what: string, steps: readonly Step[]])[] = [
  [
    `each of ${NODES} nodes is killed and Redis is killed, ${KILLS} times`,
    Array.from({ length: KILLS }, () => killAll).flat(),
  ],
  [
    `${NODES} nodes are restarted one after the other`,
    Array.from({ length: NODES }, (_, index) => async ({ nodes, startNode }: Deployment) => {
      expect(await nodes[index]?.end("SIGTERM")).toBe(0);
      await startNode(index);
    }),
  ],
];

it.each(PLANS)(
  "loses nothing of clients of MQTT 3.1.1 and 5, and sends no event or publication of QoS 2 twice, while %s",
  {
    timeout: TIMEOUT_MS,
  },
  async (_, steps) => {
    const deployment = await startDeployment({ count: NODES, cleanUps });
    const load = { dashboards: DASHBOARDS, messagesPerPublisher: MESSAGES_PER_PUBLISHER };
    await expectNothingLost(deployment, { ...load, steps, cleanUps });
  },
);
