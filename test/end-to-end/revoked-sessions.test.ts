import { connectAsync } from "mqtt";
import { afterEach, expect, it } from "vitest";
import { JWT_SECRET } from "../support/dashboard.ts";
import { startRedis } from "../support/redis.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const OPERATOR_KEY = "operator-key-of-the-tests";
const cleanUps: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function startNode(env: Record<string, string>): Promise<Skylapse> {
  const dataPath = makeDataPath();
  cleanUps.push(() => removeDataPath(dataPath));
  const node = await startSkylapse({ dataPath, env: { JWT_SECRET, OPERATOR_KEY, LOG_LEVEL: "warn", ...env } });
  cleanUps.push(() => node.end());
  return node;
}

async function call(node: Skylapse, method: string, path: string, body?: object) {
  const headers = { authorization: `Bearer ${OPERATOR_KEY}` };
  const answer = await fetch(`${node.http}${path}`, {
    ...{ method, headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  return text === "" ? {} : JSON.parse(text);
}

/** Leaves an MQTT session at the node, and disconnects its client. */
async function leaveSession(node: Skylapse, username: string, password: string, clientId: string): Promise<void> {
  const client = await connectAsync(node.mqtt, { username, password, clientId, clean: false, reconnectPeriod: 0 });
  await client.endAsync();
}

const sessionsAt = async (node: Skylapse): Promise<number> => (await call(node, "GET", "/stats")).node.broker.sessions;

it.each([
  ["with one node", 1],
  ["with several nodes", 2],
])(
  "the broker discards sessions, queues and wills of users and devices at revocation, logout, removal and rotation, %s",
  {
    timeout: 120_000,
  },
  async (_, count) => {
    const redis = count > 1 ? await startRedis() : undefined;
    if (redis !== undefined) cleanUps.push(() => redis.remove());
    const env = redis === undefined ? {} : { REDIS_URL: redis.url };
    const here = await startNode(env);
    const there = count > 1 ? await startNode(env) : here;
    const nodes = [here, there];
    const expectSessions = async (sessions: number) => {
      for (const node of nodes) await expect.poll(() => sessionsAt(node)).toBe(sessions);
    };

    const minted = (user_id: string) =>
      call(here, "POST", "/auth/token", { user_id, permissions: ["camera:read"] }).then(({ token }) => token);
    const mallory = await minted("mallory");
    const carol = await minted("carol");
    await call(here, "POST", "/users", { user_id: "bob", password: "correct horse battery", role: "viewer" });
    const login = await expect
      .poll(() => call(there, "POST", "/auth/login", { user_id: "bob", password: "correct horse battery" }))
      .toHaveProperty("token")
      .then(() => call(there, "POST", "/auth/login", { user_id: "bob", password: "correct horse battery" }));
    const north = await call(here, "POST", "/devices", { id: "north" });
    const south = await call(here, "POST", "/devices", { id: "south" });
    for (const { secret, id } of [
      { ...north, id: "north" },
      { ...south, id: "south" },
    ])
      await expect
        .poll(() =>
          leaveSession(there, id, secret, `camera-${id}`).then(
            () => true,
            () => false,
          ),
        )
        .toBe(true);
    await leaveSession(there, "mallory", mallory, "archive");
    await leaveSession(there, "carol", carol, "archive");
    await leaveSession(there, "bob", login.token, "archive");
    await expectSessions(5);

    await call(here, "POST", "/auth/revoke", { user_id: "mallory" });
    await expectSessions(4);
    await call(here, "POST", "/auth/logout", { refresh_token: login.refresh_token });
    await expectSessions(3);
    const rotated = await call(here, "POST", "/devices/north/rotate");
    await expectSessions(2);
    await call(here, "DELETE", "/devices/south");
    await expectSessions(1);

    // With its new secret the camera starts a new session, on any node.
    await expect
      .poll(() =>
        leaveSession(there, "north", rotated.secret, "camera-north").then(
          () => true,
          () => false,
        ),
      )
      .toBe(true);
    await expectSessions(2);
  },
);
