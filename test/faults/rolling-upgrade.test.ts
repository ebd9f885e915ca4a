import { pino } from "pino";
import { afterEach, expect, it } from "vitest";
import { openRedis } from "../../platform/redis/connections.ts";
import { SHARED_FORMATS } from "../../platform/redis/shared-formats.ts";
import { buildEarlier } from "../support/earlier-build.ts";
import { LONG, TIMEOUT_MS } from "../support/long-form.ts";
import { startRedis } from "../support/redis.ts";
import { joinNodes } from "../support/redis-journal.ts";
import { makeDataPath, removeDataPath, runToEnd, type Skylapse } from "../support/skylapse.ts";
import { expectNothingLost, type Step, startDeployment } from "./deployment.ts";

/** The version before: the commit that nodes run before an upgrade. */
const VERSION_BEFORE = "ee808ee6eeb0464fca98dafbca81f3fd22c8c5cd";
const NODES = 3;
const ROUNDS = 4;

const cleanUps: (() => Promise<unknown> | unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** What a node may log: the version before does not read the sessions of MQTT 5, which newer nodes keep. */
const EXPECTED = /-mqtt5.*"MQTT sessions? lost: (its record is|records missing or) unreadable"/;

function errorsOf(node: Skylapse | undefined): readonly string[] {
  const errors = node?.output().match(/^.*"level":"(error|fatal)".*$/gm) ?? [];
  return errors.filter((line) => !EXPECTED.test(line));
}

const replaceBy =
  (dist: string | undefined) =>
  (index: number): Step =>
  async ({ nodes, startNode }) => {
    expect(await nodes[index]?.end("SIGTERM")).toBe(0);
    expect(errorsOf(nodes[index])).toEqual([]);
    await startNode(index, dist);
  };

it("a server that cannot work beside a running node of a newer version does not start, and says what to do", async () => {
  const redis = await startRedis();
  cleanUps.push(() => redis.remove());
  const logger = pino({ level: "silent" });
  const connections = openRedis({ url: redis.url, prefix: "skylapse", logger });
  cleanUps.push(() => connections.close());
  const version = SHARED_FORMATS.version + 1;
  const { leave } = await joinNodes(connections, { logger, formats: { version, oldest: version } });
  cleanUps.push(leave);
  const dataPath = makeDataPath();
  cleanUps.push(() => removeDataPath(dataPath));
  const { code, errors } = await runToEnd({ dataPath, env: { REDIS_URL: redis.url } });
  expect(code).toBe(1);
  expect(errors).toMatch(/^Cannot start: the running node .* stop all nodes first, then start the newer version/m);
});

if (LONG)
  it("loses nothing and sends no event or publication of QoS 2 twice while nodes of the version before are replaced one by one, and one of them is put back", {
    timeout: TIMEOUT_MS,
  }, async () => {
    const { dist, remove } = buildEarlier(VERSION_BEFORE);
    cleanUps.push(remove);
    const deployment = await startDeployment({ count: NODES, dist, cleanUps });
    const [upgrade, putBack] = [replaceBy(undefined), replaceBy(dist)];
    // Clients of MQTT 5 need a node that knows MQTT 5, which the version before does not.
    await upgrade(0)(deployment);
    const toNew = [upgrade(1), upgrade(2)];
    const round = [...toNew, putBack(1), upgrade(1), putBack(0), upgrade(0), putBack(1), putBack(2)];
    const steps = [...Array.from({ length: ROUNDS }, () => round).flat(), ...toNew];
    const load = { dashboards: 12, messagesPerPublisher: 12_500, isMixed: true };
    await expectNothingLost(deployment, { ...load, steps, cleanUps });
  });
