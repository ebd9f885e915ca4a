import crypto from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../bridge/support/test-bridge.ts";

const PASSWORD = "a mountain at dawn";
const WRONG = "a mountain at noon";
const MAX_FAILURES = 3;
let bridge: TestBridge;
let count = 0;

beforeAll(async () => {
  // This test acts as the trusted proxy, which names the address of each request.
  bridge = await startTestBridge({
    env: {
      ...{ TRUSTED_PROXIES: "127.0.0.1", MAX_LOGIN_FAILURES: String(MAX_FAILURES) },
      MAX_LOGIN_FAILURES_PER_ADDRESS: String(MAX_FAILURES),
      ...{ MAX_TOKEN_REQUESTS_PER_MINUTE: "0", MAX_REQUESTS_PER_MINUTE: "0", MAX_REQUESTS_PER_SECOND: "0" },
    },
  });
  await addUser("alice");
});
afterAll(() => bridge.stop());

interface From {
  from?: string;
  token?: string;
}

function post(path: string, body: object, { from = newAddress(), ...credentials }: From = {}) {
  return bridge.call(path, { method: "POST", body, headers: { "x-forwarded-for": from }, ...credentials });
}
/** An address that no other request uses, so that failed logins of one test do not affect another test. */
function newAddress(): string {
  return `10.${++count >> 16}.${(count >> 8) & 255}.${count & 255}`;
}
async function addUser(user_id: string): Promise<string> {
  await post("/users", { user_id, password: PASSWORD, role: "viewer" }, { token: OPERATOR_KEY });
  return user_id;
}
const login = (password: string, { user_id = "alice", ...more }: From & { user_id?: string } = {}) =>
  post("/auth/login", { user_id, password }, more);
/** Opens a session without a login, which would compute a password hash. */
async function openSession() {
  const account = bridge.authority.accounts.get("alice");
  if (account === undefined) throw new Error("alice has no account");
  return await bridge.authority.sessions.open(account);
}
const refresh = (refresh_token: string) => post("/auth/refresh", { refresh_token });

/** Counts the constant-time comparisons from now on. The comparisons themselves do not change. */
function watchComparisons(): { count: number } {
  const watch = { count: 0 };
  const { timingSafeEqual } = crypto;
  const replace = (comparison: typeof timingSafeEqual) => {
    crypto.timingSafeEqual = comparison;
    syncBuiltinESMExports();
  };
  replace((one, other) => {
    watch.count++;
    return timingSafeEqual(one, other);
  });
  onTestFinished(() => replace(timingSafeEqual));
  return watch;
}

describe("refresh tokens", () => {
  it.each<[string, (mine: string, other: string) => string]>([
    [
      "that joins the id of another session to the secret of its own",
      (mine, other) => `${other.split(".")[0]}.${mine.split(".")[1]}`,
    ],
    ["with an invented secret", (_mine, other) => `${other.split(".")[0]}.${"A".repeat(43)}`],
    ["with another last letter", (_mine, other) => other.slice(0, -1) + (other.endsWith("A") ? "E" : "A")],
    ["with swapped halves", (mine) => mine.split(".").reverse().join(".")],
    ["without a secret", (mine) => `${mine.split(".")[0]}.`],
    ["followed by a line break", (mine) => `${mine}\n`],
    ["in capitals", (mine) => mine.toUpperCase()],
    ["of a session called __proto__", (mine) => `__proto__.${mine.split(".")[1]}`],
    ["that is a path", () => "../../users/alice"],
  ])("rejects a token %s with 401 and ends no session, also at logout", async (_, forge) => {
    const [mine, other] = [(await openSession()).refreshToken, (await openSession()).refreshToken];
    const forged = forge(mine, other);
    const { status, body } = await refresh(forged);
    expect([status, body.error.code]).toEqual([401, "unauthorized"]);
    await post("/auth/logout", { refresh_token: forged });
    for (const good of [mine, other]) expect((await refresh(good)).status).toBe(200);
  });

  it("are not accepted as access tokens, and access tokens are not accepted as refresh tokens", async () => {
    const { token, refreshToken } = await openSession();
    expect((await bridge.call("/cameras", { token: refreshToken })).status).toBe(401);
    expect((await refresh(token)).status).toBe(token.length > 256 ? 400 : 401);
  });

  it("give only the current permissions of the account, whatever the request asks for", async () => {
    const { refreshToken } = await openSession();
    const asked = { refresh_token: refreshToken, permissions: ["admin"], role: "admin", user_id: "root" };
    const { body } = await post("/auth/refresh", asked);
    expect([body.user_id, body.permissions.includes("admin")]).toEqual(["alice", false]);
  });
});

describe("guessing passwords", () => {
  it("from one address for many users is stopped at that address, for every user", async () => {
    const from = newAddress();
    for (let guess = 0; guess < MAX_FAILURES; guess++) await login(WRONG, { from, user_id: `somebody-${guess}` });
    const { status, headers, body } = await login(PASSWORD, { from });
    expect([status, body.error.code]).toEqual([429, "too_many_failures"]);
    expect(Number(headers["retry-after"])).toBeGreaterThan(800);
  });

  it("for one user from many addresses is stopped at every further address", async () => {
    const user_id = await addUser("victim");
    for (let guess = 0; guess < MAX_FAILURES; guess++) expect((await login(WRONG, { user_id })).status).toBe(401);
    expect((await login(PASSWORD, { user_id })).body.error.code).toBe("too_many_failures");
  });

  it("does not lock the user out at an address of an earlier login", async () => {
    const [user_id, home] = [await addUser("resident"), newAddress()];
    expect((await login(PASSWORD, { user_id, from: home })).status).toBe(200);
    for (let guess = 0; guess < MAX_FAILURES; guess++) await login(WRONG, { user_id });
    expect((await login(WRONG, { user_id })).status).toBe(429);
    expect((await login(PASSWORD, { user_id, from: home })).status).toBe(200);
  });

  it("from an address of an earlier login is stopped as at any other address", async () => {
    const at = { user_id: await addUser("neighbour"), from: newAddress() };
    await login(PASSWORD, at);
    for (let guess = 0; guess < MAX_FAILURES; guess++) expect((await login(WRONG, at)).status).toBe(401);
    expect((await login(PASSWORD, at)).status).toBe(429);
  });

  it("is counted for all addresses of one IPv6 network together, and for other networks separately", async () => {
    const network = ["2001:db8:0:7::1", "2001:db8:0:7:2::3", "2001:db8:0:7:ffff:ffff:ffff:ffff"];
    for (const from of network) await login(WRONG, { from, user_id: from });
    expect((await login(PASSWORD, { from: "2001:db8:0:7::99" })).status).toBe(429);
    expect((await login(PASSWORD, { from: "2001:db8:0:8::99" })).status).toBe(200);
  });

  it("is counted at the address that the proxy adds, whatever addresses the client sends", async () => {
    const seen = newAddress();
    for (let guess = 0; guess < MAX_FAILURES; guess++)
      await login(WRONG, { from: `${newAddress()}, ${seen}`, user_id: `somebody-${guess}` });
    expect((await login(PASSWORD, { from: `${newAddress()}, ${seen}` })).status).toBe(429);
  });

  it("is counted at the client's own address when a client that is no proxy sends a proxy's headers", async () => {
    const open = await startTestBridge({ env: { MAX_LOGIN_FAILURES_PER_ADDRESS: String(MAX_FAILURES) } });
    onTestFinished(() => open.stop());
    const headers = ["x-forwarded-for", "x-real-ip", "forwarded", "x-client-ip", "true-client-ip"];
    const guess = (header: string) =>
      open.call("/auth/login", {
        ...{ method: "POST", body: { user_id: header, password: WRONG } },
        headers: { [header]: newAddress() },
      });
    const statuses = [];
    for (const header of headers) statuses.push((await guess(header)).status);
    expect(statuses).toEqual([401, 401, 401, 429, 429]);
  });
});

describe("a password", () => {
  it.each([
    ["an object with its own length", { length: 12, normalize: "x" }],
    ["a list", [PASSWORD]],
    ["a number", 1234567890],
    ["null", null],
    ["15,000 characters", "x".repeat(15_000)],
  ])("that is %s is rejected with 400 before a hash is computed", async (_, password) => {
    const { status } = await post("/auth/login", { user_id: "alice", password });
    expect(status).toBe(400);
  });
});

describe("constant-time comparison", () => {
  it.each<[string, () => Promise<() => Promise<unknown>>]>([
    ["the operator key", async () => () => bridge.call("/users", { token: "no-operator-key" })],
    ["a password", async () => () => login(WRONG)],
    ["the password of an unknown user", async () => () => login(WRONG, { user_id: "nobody" })],
    [
      "a refresh token",
      async () => {
        const { sessionId } = await openSession();
        return () => refresh(`${sessionId}.${"A".repeat(43)}`);
      },
    ],
    ["the secret of a device", async () => async () => bridge.authority.devices.verify("north", "x".repeat(43))],
    [
      "the signature of a token",
      async () => () => bridge.call("/users", { token: `${bridge.mint("admin").slice(0, -5)}AAAAA` }),
    ],
  ])("is used for %s", async (_, prepare) => {
    const show = await prepare();
    const comparisons = watchComparisons();
    await show();
    expect(comparisons.count).toBeGreaterThan(0);
  });
});
