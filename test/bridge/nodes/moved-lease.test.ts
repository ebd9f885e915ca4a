import { pino } from "pino";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { leaseKey } from "../../../bridge/cluster/redis/leases.ts";
import { Link } from "../../../bridge/cluster/redis/link.ts";
import { topicTree } from "../../../contract/topics.ts";
import { openRedis } from "../../../platform/redis/connections.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { startTestBridge } from "../support/test-bridge.ts";

const PRESENCE = topicTree().build({ kind: "camera-state", camera: "north", name: "presence" });
/** A fence that no node holds. */
const NOBODY = "1";

let redis: RedisServer;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.remove());

it("the next holder of the lease publishes the presence of a camera whose first birth the last holder could not publish", async () => {
  const logger = pino({ level: "silent" });
  const access = openRedis({ url: redis.url, prefix: "moved", logger });
  onTestFinished(() => access.close());
  const lines: unknown[] = [];
  const log = ({ part, msg }: Record<string, unknown>) => {
    if (part === "presence") lines.push(msg);
  };
  const node = await startTestBridge({ redis: { access }, log });
  onTestFinished(() => node.stop());
  const published: string[] = [];
  node.journal.follow((entries) => {
    for (const { topic, body } of entries) if (topic === PRESENCE) published.push(JSON.parse(`{${body}}`).event);
  });
  const lease = leaseKey(new Link(access), "presence");
  await expect.poll(() => lines).toContain("node runs the task");
  await access.commands.do((client) => client.set(lease, NOBODY));
  // The birth is in the journal, and its presence is refused, because the lease has moved.
  await node.say("cameras/north/link", { status: "online", session: "s1" }, true);
  await expect.poll(() => lines).toContain("presence not published, retrying");
  expect(published).toEqual([]);
  await access.commands.do((client) => client.del(lease));
  await expect.poll(() => published).toEqual(["camera.online"]);
});
