import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, onTestFinished } from "vitest";
import { createSetupCode, SetupCodeTakenError } from "../../../bridge/auth/setup-code.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge, type TestBridgeOptions } from "../support/test-bridge.ts";

const ADMIN = { user_id: "ada", password: "correct horse battery" };

const running: TestBridge[] = [];
afterEach(async () => {
  for (const bridge of running.splice(0)) await bridge.stop();
});

async function start(options: TestBridgeOptions = {}): Promise<TestBridge> {
  const bridge = await startTestBridge({ simulated: [], ...options });
  running.push(bridge);
  return bridge;
}

const codeOf = async ({ authority }: TestBridge) => (await authority.setupCode.current()) ?? "";

const addAdmin = (bridge: TestBridge, code: string, user: object = ADMIN) =>
  bridge.call("/setup/admin", { method: "POST", body: { code, ...user } });

describe("GET /setup", () => {
  it("names what the server lacks, to everybody", async () => {
    const bridge = await start();
    expect((await bridge.call("/setup")).body).toEqual({
      needs: ["admin", "camera"],
      has_accounts: false,
      trial: false,
    });
    await bridge.authority.devices.add({ id: "north", kind: "camera", credential: {} });
    expect((await bridge.call("/setup")).body.needs).toEqual(["admin"]);
    await addAdmin(bridge, await codeOf(bridge));
    expect((await bridge.call("/setup")).body.needs).toEqual([]);
  });

  it("says that an account which is no admin can log in", async () => {
    const bridge = await start();
    await bridge.authority.accounts.create({ userId: "vera", password: ADMIN.password, powers: { role: "viewer" } });
    expect((await bridge.call("/setup")).body).toMatchObject({ needs: ["admin", "camera"], has_accounts: true });
  });

  it("names nothing in trial mode", async () => {
    const bridge = await start({ simulated: ["north"] });
    expect((await bridge.call("/setup")).body).toEqual({ needs: [], has_accounts: false, trial: true });
  });
});

describe("POST /setup/admin", () => {
  it("adds the first admin with the code and logs in, once", async () => {
    const bridge = await start();
    const code = await codeOf(bridge);
    expect(code).toMatch(/^[2-9A-Z]{4}-[2-9A-Z]{4}-[2-9A-Z]{4}$/);
    const { status, body } = await addAdmin(bridge, code.toLowerCase().replaceAll("-", " "));
    expect(status).toBe(201);
    expect((await bridge.call("/users", { token: body.token })).body.users).toMatchObject([
      { user_id: "ada", role: "admin" },
    ]);
    const again = await addAdmin(bridge, code, { ...ADMIN, user_id: "eve" });
    expect([again.status, again.body.error.code]).toEqual([409, "conflict"]);
  });

  it("accepts the code once, also from two people at the same time", async () => {
    const bridge = await start();
    const code = await codeOf(bridge);
    const both = await Promise.all(["ada", "eve"].map((user_id) => addAdmin(bridge, code, { ...ADMIN, user_id })));
    expect(both.map(({ status }) => status).sort()).toEqual([201, 409]);
    expect(bridge.authority.accounts.list()).toHaveLength(1);
  });

  it("accepts the code again a while after a node died while it added the admin, and not after that admin", async () => {
    const bridge = await start();
    const { documents } = bridge.cluster;
    let now = Date.now();
    const setupCode = createSetupCode({ documents, accounts: bridge.authority.accounts, now: () => now });
    const code = (await setupCode.current()) ?? "";
    expect(await setupCode.redeem(code)).toBeDefined();
    await expect(setupCode.redeem(code)).rejects.toThrow(SetupCodeTakenError);
    expect((await addAdmin(bridge, code)).body.error).toMatchObject({ code: "conflict" });
    now += 31_000;
    expect(await setupCode.redeem(code)).toBeDefined();
    // The node dies after it has added the admin, and before it discards the code.
    await bridge.authority.accounts.create({ userId: "ada", password: ADMIN.password, powers: { role: "admin" } });
    expect(await setupCode.current()).toBeUndefined();
    await bridge.authority.accounts.remove("ada");
    now += 31_000;
    expect(await setupCode.redeem(code)).toBeUndefined();
  });

  it("accepts the code again when the user id was in use", async () => {
    const bridge = await start();
    await bridge.authority.accounts.create({ userId: "ada", password: ADMIN.password, powers: { role: "viewer" } });
    const code = await codeOf(bridge);
    expect((await addAdmin(bridge, code)).body.error.code).toBe("user_exists");
    expect((await addAdmin(bridge, code, { ...ADMIN, user_id: "eve" })).status).toBe(201);
  });

  it("accepts the operator key in place of the code", async () => {
    expect((await addAdmin(await start(), OPERATOR_KEY)).status).toBe(201);
  });

  it("shows another code when the admin is removed", async () => {
    const bridge = await start();
    const code = await codeOf(bridge);
    await addAdmin(bridge, code);
    expect(await bridge.authority.setupCode.current()).toBeUndefined();
    await bridge.authority.accounts.remove("ada");
    expect(await codeOf(bridge)).not.toBe(code);
    expect((await addAdmin(bridge, code)).status).toBe(401);
  });

  it("keeps the code over a restart", async () => {
    const dataPath = mkdtempSync(join(tmpdir(), "setup-"));
    onTestFinished(() => rmSync(dataPath, { recursive: true }));
    const before = await start({ dataPath });
    const code = await codeOf(before);
    await before.stop();
    expect(await codeOf(await start({ dataPath }))).toBe(code);
  });

  it("stays closed after the only admin was disabled", async () => {
    const bridge = await start();
    await addAdmin(bridge, await codeOf(bridge));
    await bridge.authority.accounts.update("ada", { enabled: false });
    expect((await addAdmin(bridge, OPERATOR_KEY, { ...ADMIN, user_id: "eve" })).status).toBe(409);
  });

  it("refuses a wrong code, and limits the guesses", async () => {
    const bridge = await start({ env: { MAX_LOGIN_FAILURES: "3" } });
    const code = await codeOf(bridge);
    const statuses: number[] = [];
    for (const guess of ["", "AAAA-AAAA-AAAA", "-", code]) statuses.push((await addAdmin(bridge, guess)).status);
    expect(statuses).toEqual([401, 401, 401, 429]);
    expect(bridge.authority.accounts.list()).toEqual([]);
  });

  it("refuses a password that is too short, without using up the code", async () => {
    const bridge = await start();
    const code = await codeOf(bridge);
    expect((await addAdmin(bridge, code, { ...ADMIN, password: "short" })).status).toBe(400);
    expect((await addAdmin(bridge, code)).status).toBe(201);
  });
});

describe("GET /setup/proxy", () => {
  const page = "https://sky.example.org";

  async function problemsOf(bridge: TestBridge, headers: Record<string, string>, query = "") {
    const { status, body } = await bridge.call(`/setup/proxy?origin=${page}${query}`, { headers });
    expect(status).toBe(200);
    return body.problems as { problem: string; message: string }[];
  }
  const names = (found: { problem: string }[]) => found.map(({ problem }) => problem);
  const trusted = { TRUSTED_PROXIES: "127.0.0.1" };

  it("finds nothing behind a proxy that is set right", async () => {
    const bridge = await start({ env: trusted });
    const headers = { host: "sky.example.org", "x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "https" };
    expect(await problemsOf(bridge, headers)).toEqual([]);
  });

  it("names TRUSTED_PROXIES, and the proxy's address only until there is an admin", async () => {
    const bridge = await start();
    const headers = { host: "sky.example.org", "x-forwarded-for": "192.0.2.1" };
    const [found] = await problemsOf(bridge, headers);
    expect(found?.problem).toBe("untrusted_proxy");
    expect(found?.message).toContain("TRUSTED_PROXIES=127.0.0.1");
    await addAdmin(bridge, OPERATOR_KEY);
    expect((await problemsOf(bridge, headers))[0]?.message).not.toContain("127.0.0.1");
  });

  it("says that the proxy changes the host", async () => {
    const bridge = await start();
    const [found] = await problemsOf(bridge, { host: "127.0.0.1:8082" });
    expect(found?.problem).toBe("host_changed");
    expect(found?.message).toContain("The browser asks for sky.example.org, and the server gets 127.0.0.1:8082");
    const listed = await start({ env: { ALLOWED_ORIGINS: page } });
    expect(await problemsOf(listed, { host: "127.0.0.1:8082" })).toEqual([]);
  });

  it("says that the proxy names another scheme", async () => {
    const bridge = await start({ env: trusted });
    const headers = { host: "sky.example.org", "x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "http" };
    expect(names(await problemsOf(bridge, headers))).toEqual(["scheme_changed"]);
  });

  it("says that WebSockets do not arrive, if nothing else explains it", async () => {
    const bridge = await start();
    const failed = "&websocket=failed";
    expect(names(await problemsOf(bridge, { host: "sky.example.org" }, failed))).toEqual(["websocket_blocked"]);
    expect(names(await problemsOf(bridge, { host: "127.0.0.1" }, failed))).toEqual(["host_changed"]);
  });
});
