import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, expect, it, onTestFinished, vi } from "vitest";
import { SIGN_IN_FRAGMENT } from "../../../contract/sign-in.ts";
import { CookieBrowser } from "../../support/cookie-browser.ts";
import { LONG, TIMEOUT_MS } from "../../support/long-form.ts";
import { startOidcProvider } from "../../support/oidc-provider.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { startRoundRobin } from "../../support/round-robin.ts";
import { TestClient } from "../websocket/client.ts";
import { killNodes, type NodeProcess, startNode, startTwoNodes } from "./two-nodes.ts";

const DEPLOYMENTS = LONG ? 5 : 1;
const KILLS = LONG ? 6 : 0;
const FREEZES = LONG ? 60 : 2;
const PASSWORD = "a mountain at dawn";

let redis: RedisServer;
let prefixes = 0;
/** The nodes of the last deployment. */
let nodes: [NodeProcess, NodeProcess] | undefined;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(async () => {
  await killNodes();
  await redis.remove();
});

const options = () => ({ redisUrl: redis.url, prefix: `sign-in-${prefixes++}` });
const addAdmin = (node: NodeProcess, user_id: string, code: string) =>
  node.request("/setup/admin", { method: "POST", body: { code, user_id, password: PASSWORD } });
const login = async (node: NodeProcess, user_id: string, password = PASSWORD) =>
  (await node.request("/auth/login", { method: "POST", body: { user_id, password } })).body;
const usersAt = async (node: NodeProcess) =>
  (await node.call("GET", "/users")).body.users.map(({ user_id }: { user_id: string }) => user_id);

it("of two people with the set-up code at two nodes at the same time, one becomes the admin", {
  timeout: TIMEOUT_MS,
}, async () => {
  for (let deployment = 0; deployment < DEPLOYMENTS; deployment++) {
    await Promise.all(nodes?.map((node) => node.kill()) ?? []);
    nodes = await startTwoNodes({ ...options(), simulated: [] });
    const code = nodes[0].setupCode;
    expect(nodes.map(({ setupCode }) => setupCode)).toEqual([code, code]);
    const names = ["ada", "eve"];
    const both = await Promise.all(nodes.map((node, index) => addAdmin(node, names[index] ?? "", code)));
    expect(both.map(({ status }) => status).sort()).toEqual([201, 409]);
    const winner = names[both.findIndex(({ status }) => status === 201)];
    for (const node of nodes) {
      await expect.poll(() => usersAt(node)).toEqual([winner]);
      expect((await addAdmin(node, "max", code)).status).toBe(409);
    }
  }
});

it("the set-up code is accepted at the other node when a node dies while it adds the admin", {
  timeout: TIMEOUT_MS,
}, async () => {
  const outcomes = { added: 0, again: 0 };
  for (let kill = 0; kill < KILLS; kill++) {
    const [one, other] = await startTwoNodes({ ...options(), simulated: [] });
    const answer = addAdmin(one, "ada", one.setupCode).catch(() => undefined);
    await setTimeout(kill * 80);
    await one.kill();
    await answer;
    const last = await vi.waitUntil(
      async () => {
        const { status, body } = await addAdmin(other, "eve", other.setupCode);
        const isTaken = status === 409 && !String(body.error.message).includes("admin already");
        return !isTaken && { status };
      },
      { interval: 500 },
    );
    const users = await usersAt(other);
    expect(users).toEqual([last.status === 201 ? "eve" : "ada"]);
    outcomes[last.status === 201 ? "again" : "added"]++;
    await other.kill();
  }
  if (LONG) console.info("kill -9 while the first admin is added", outcomes);
  expect(outcomes.added + outcomes.again).toBe(KILLS);
});

it("a node that stood still accepts who logged in at the other node meanwhile, with a new account or a new password", {
  timeout: TIMEOUT_MS,
}, async () => {
  const [one, other] = nodes ?? (await startTwoNodes(options()));
  for (let round = 0; round < FREEZES; round++) {
    const isNew = round % 2 === 0;
    const clients = [
      new TestClient(`ws://127.0.0.1:${other.port}/ws`),
      new TestClient(`ws://127.0.0.1:${other.port}/ws`),
    ];
    for (const client of clients) await client.opened();
    other.freeze();
    const user_id = `user-${isNew ? round : round - 1}`;
    const password = `${PASSWORD} ${round}`;
    const changed = isNew
      ? await one.call("POST", "/users", { user_id, password, role: "viewer" })
      : await one.call("PUT", `/users/${user_id}`, { password });
    expect(changed.status).toBe(isNew ? 201 : 200);
    const { token } = await login(one, user_id, password);
    for (const client of clients) client.send({ type: "auth", token });
    const http = other.call("GET", "/auth/me", undefined, token);
    const again = other.request("/auth/login", { method: "POST", body: { user_id, password } });
    other.thaw();
    for (const client of clients) {
      await client.next("auth_success");
      client.ws.close();
    }
    expect([(await http).status, (await again).status]).toEqual([200, 200]);
  }
  if (LONG) console.info("logins that a node had not read", { rounds: FREEZES, refused: 0 });
});

it("a sign-in with an identity provider continues at other nodes when each of its nodes is killed after its step", async () => {
  const balancer = await startRoundRobin();
  onTestFinished(() => balancer.stop());
  const origin = `http://127.0.0.1:${balancer.port}`;
  const provider = await startOidcProvider({
    redirectUrl: `${origin}/auth/oidc/callback`,
    groups: { ada: ["sky-admins"] },
  });
  onTestFinished(() => provider.stop());
  const given = { ...options(), env: provider.env };
  const nodes = await Promise.all([startNode(given), startNode(given), startNode(given)]);
  const [begins, calledBack, opens] = nodes;
  const browser = new CookieBrowser();
  const isPage = (url: URL) => url.hash.startsWith(`#${SIGN_IN_FRAGMENT}=`);

  balancer.setTargets([begins.port]);
  const form = await browser.open(`${origin}/auth/oidc/start`, {}, isPage);
  await begins.kill();
  balancer.setTargets([calledBack.port]);
  const answer = new URLSearchParams({ answer: "sign in", user: "ada" });
  const { url } = await browser.open(form.url.href, { method: "POST", body: answer }, isPage);
  expect(url.hash).toBe(`#${SIGN_IN_FRAGMENT}=done`);
  await calledBack.kill();
  balancer.setTargets([opens.port]);
  const response = await browser.fetch(new URL(`${origin}/auth/oidc/session`), { method: "POST" });
  expect(response.status).toBe(200);
  const { token } = await response.json();
  expect((await opens.call("GET", "/users", undefined, token)).body.users).toMatchObject([{ user_id: "idp:ada" }]);
});
