import { afterAll, beforeAll, expect, it } from "vitest";
import { LONG, TIMEOUT_MS } from "../../support/long-form.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { startRunningClock } from "../../support/running-clock.ts";
import type { TestClient } from "../websocket/client.ts";
import { killNodes, type NodeProcess, startTwoNodes } from "./two-nodes.ts";

const ROUNDS = LONG ? 100 : 2;
const PASSWORD = "a mountain at dawn";

let redis: RedisServer;
let nodes: [NodeProcess, NodeProcess];

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(async () => {
  await killNodes();
  await redis.remove();
});

const login = async (node: NodeProcess, user_id = "alice") =>
  (await node.request("/auth/login", { method: "POST", body: { user_id, password: PASSWORD } })).body;

/** Cameras of a live dashboard that may be read, as the newest `auth_success` says. */
const camerasOf = (client: TestClient) => {
  const welcome = client.messages.findLast(({ type }) => type === "auth_success");
  const permissions = welcome?.type === "auth_success" ? (welcome.permissions ?? []) : [];
  return permissions.flatMap((held) => /^camera:(.+):read$/.exec(held)?.[1] ?? []).sort();
};

const elapsedMs = startRunningClock();
const slowest: Record<string, number> = {};
/** Notes the time from the answer to a change to its effect. */
async function timed(what: string, change: () => Promise<unknown>, done: () => Promise<unknown>): Promise<void> {
  await change();
  const answeredAt = elapsedMs();
  await done();
  slowest[what] = Math.max(slowest[what] ?? 0, Math.round(elapsedMs() - answeredAt));
}

it("a changed group, an ended session, a revocation and a disabled account act on the open connections of both nodes", {
  timeout: TIMEOUT_MS,
}, async () => {
  nodes = await startTwoNodes({ redisUrl: redis.url, prefix: "access", env: { MAX_CONNECTIONS_PER_ADDRESS: "0" } });
  const [one, other] = nodes;
  for (const camera of ["north", "south"])
    await one.say(`cameras/${camera}/state/storage`, { total_bytes: 100, free_bytes: 42 }, true);
  await one.call("POST", "/camera-groups", { id: "alps", name: "Alps", cameras: ["north"] });
  for (let round = 0; round < ROUNDS; round++) {
    const [changing, asked] = round % 2 === 0 ? [one, other] : [other, one];
    const account = { user_id: "alice", password: PASSWORD, role: "viewer", camera_groups: ["alps"] };
    expect((await changing.call("POST", "/users", account)).status).toBe(201);

    // The other node knows the account before its next request.
    const logins = [await login(asked), await login(changing), await login(asked)];
    const [ended, revoked, kept] = logins;
    const clients = await Promise.all([
      asked.connect(ended.token),
      asked.connect(revoked.token),
      asked.connect(kept.token),
      changing.connect(kept.token),
    ]);
    const [endedClient, revokedClient, ...keptClients] = clients;
    for (const client of keptClients) await client.subscribe("dashboard");

    await timed(
      "group",
      () => changing.call("PUT", "/camera-groups/alps", { cameras: ["south"] }),
      async () => {
        for (const client of keptClients) await expect.poll(() => camerasOf(client)).toEqual(["south"]);
      },
    );
    await asked.say("cameras/north/events/tick", { round });
    await asked.say("cameras/south/events/tick", { round });
    for (const client of keptClients) {
      const event = await client.next("dashboard_event", (received) => received.event === "tick");
      expect(event.camera).toBe("south");
    }
    const listed = (await asked.call("GET", "/cameras", undefined, kept.token)).body.cameras;
    expect(listed.map(({ id }: { id: string }) => id)).toEqual(["south"]);

    const sessions = (await changing.call("GET", "/users/alice/sessions")).body.sessions;
    expect(sessions).toHaveLength(3);
    const sessionOf = async ({ token }: { token: string }) =>
      (await asked.call("GET", "/auth/me", undefined, token)).body.session_id;
    const endedId = await sessionOf(ended);
    await timed(
      "session",
      async () => expect((await changing.call("DELETE", `/users/alice/sessions/${endedId}`)).status).toBe(204),
      async () => expect((await endedClient?.closed)?.code).toBe(4005),
    );
    const refresh = { method: "POST", body: { refresh_token: ended.refresh_token } };
    expect((await asked.request("/auth/refresh", refresh)).status).toBe(401);

    const revokedId = await sessionOf(revoked);
    await timed(
      "revocation",
      async () => expect((await changing.call("POST", "/auth/revoke", { session_id: revokedId })).status).toBe(204),
      async () => expect((await revokedClient?.closed)?.code).toBe(4005),
    );

    await timed(
      "disabled",
      () => changing.call("PUT", "/users/alice", { enabled: false }),
      async () => {
        for (const client of keptClients) expect((await client.closed).code).toBe(4005);
      },
    );
    const again = { method: "POST", body: { refresh_token: kept.refresh_token } };
    expect((await asked.request("/auth/refresh", again)).status).toBe(401);
    expect((await asked.call("GET", "/cameras", undefined, kept.token)).status).toBe(401);

    await changing.call("DELETE", "/users/alice");
    await changing.call("PUT", "/camera-groups/alps", { cameras: ["north"] });
  }
  const lines = (await other.call("GET", "/audit?limit=200")).body.lines;
  const actions = new Set(lines.map(({ action }: { action: string }) => action));
  for (const action of ["user.create", "login", "camera-group.update", "user.update"])
    expect(actions).toContain(action);
  if (LONG) console.info("access changes", { rounds: ROUNDS, slowestMs: slowest });
  for (const ms of Object.values(slowest)) expect(ms).toBeLessThan(LONG ? 10_000 : 3_000);
});
