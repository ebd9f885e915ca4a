import { connectAsync } from "mqtt";
import { afterEach, beforeEach, expect, it } from "vitest";
import { startCameraProgram } from "../support/camera-program.ts";
import { JWT_SECRET, openDashboard, signToken } from "../support/dashboard.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const OPERATOR_KEY = "operator-key-of-the-tests";
const cleanUps: (() => Promise<unknown> | unknown)[] = [];
let redis: RedisServer;

beforeEach(async () => {
  redis = await startRedis();
  cleanUps.push(() => redis.remove());
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function startNode(): Promise<Skylapse> {
  const dataPath = makeDataPath();
  cleanUps.push(() => removeDataPath(dataPath));
  const skylapse = await startSkylapse({
    dataPath,
    env: { JWT_SECRET, OPERATOR_KEY, REDIS_URL: redis.url, PRESENCE_GRACE_MS: "300", LOG_LEVEL: "warn" },
  });
  cleanUps.push(() => skylapse.end());
  return skylapse;
}

async function call({ http }: Skylapse, method: string, path: string, body?: object) {
  const answer = await fetch(`${http}${path}`, {
    method,
    headers: { authorization: `Bearer ${OPERATOR_KEY}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  return { status: answer.status, body: text === "" ? undefined : JSON.parse(text) };
}

const camerasAt = async (node: Skylapse): Promise<string[]> =>
  (await call(node, "GET", "/cameras")).body.cameras.map(({ id }: { id: string }) => id);

it("every node forgets a removed camera, and the camera's will does not bring the camera back", async () => {
  const nodes = [await startNode(), await startNode()] as const;
  const { body } = await call(nodes[0], "POST", "/devices", { id: "north" });
  const camera = await startCameraProgram({ brokerUrl: nodes[1].mqtt, secret: body.secret });
  cleanUps.push(() => camera.end());
  const dashboard = await openDashboard(nodes[1].socket, signToken("alice", ["dashboard:read"]));
  cleanUps.push(() => dashboard.close());
  await dashboard.next("dashboard_event", ({ topic }) => topic === "cameras/north/state/storage");
  await expect.poll(() => camerasAt(nodes[0])).toEqual(["north"]);

  expect((await call(nodes[0], "DELETE", "/devices/north")).status).toBe(204);
  for (const node of nodes) await expect.poll(() => camerasAt(node)).toEqual([]);
  expect((await call(nodes[1], "GET", "/cameras/north")).status).toBe(404);

  // The link of `south` breaks after the removal of `north`. When `south` is offline, the earlier grace period of
  // `north` is over, too.
  const south = await connectAsync(nodes[1].mqtt, {
    ...{ clientId: "south", username: "south", password: signToken("south", ["device:south"]), reconnectPeriod: 0 },
    will: will("south"),
  });
  await south.publishAsync("skylapse/v1/cameras/south/link", link("online"), { qos: 1, retain: true });
  await dashboard.next("dashboard_event", ({ event, camera: id }) => event === "camera.online" && id === "south");
  south.stream.destroy();
  await dashboard.next("dashboard_event", ({ event, camera: id }) => event === "camera.offline" && id === "south");
  for (const node of nodes) expect(await camerasAt(node)).toEqual(["south"]);
  expect(
    dashboard.messages.filter((message) => message.type === "dashboard_event" && message.event === "camera.offline"),
  ).toHaveLength(1);

  // New MQTT subscribers get nothing of the removed camera either.
  const reader = await connectAsync(nodes[0].mqtt, { username: "admin", password: signToken("admin", ["admin"]) });
  cleanUps.push(() => reader.endAsync());
  const retained: string[] = [];
  reader.on("message", (topic) => void retained.push(topic));
  await reader.subscribeAsync("skylapse/v1/#", { qos: 1 });
  await expect.poll(() => retained).toContain("skylapse/v1/cameras/south/state/presence");
  expect(retained.filter((topic) => topic.includes("/north/"))).toEqual([]);
});

const link = (status: string) => JSON.stringify({ status, session: "s1" });

function will(camera: string) {
  return {
    topic: `skylapse/v1/cameras/${camera}/link`,
    ...{ payload: Buffer.from(link("offline")), qos: 1 as const, retain: true },
  };
}
