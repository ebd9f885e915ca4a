import { appendFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { expect, it, onTestFinished } from "vitest";
import { openRedis } from "../../../platform/redis/connections.ts";
import { startRedis } from "../../support/redis.ts";
import { makeDataPath, removeDataPath } from "../../support/skylapse.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge, type TestBridgeOptions } from "../support/test-bridge.ts";

async function start(options: TestBridgeOptions = {}): Promise<TestBridge> {
  const bridge = await startTestBridge({ ...options, env: { MAX_TOKEN_REQUESTS_PER_MINUTE: "0", ...options.env } });
  onTestFinished(() => bridge.stop());
  return bridge;
}

const mintFor = (bridge: TestBridge, user_id: string) =>
  bridge.call("/auth/token", {
    method: "POST",
    body: { user_id, permissions: ["dashboard:read"] },
    token: OPERATOR_KEY,
  });
const page = async (bridge: TestBridge, path = "/audit") => (await bridge.call(path, { token: OPERATOR_KEY })).body;
const usersIn = (lines: { target: string }[]) => lines.map(({ target }) => /^user:(\S+)/.exec(target)?.[1]);

it("GET /audit has the newest lines first, page by page, each line once", async () => {
  const bridge = await start();
  const users = Array.from({ length: 7 }, (_, index) => `u${index}`);
  for (const user of users) await mintFor(bridge, user);
  const found: (string | undefined)[] = [];
  for (let path: string | undefined = "/audit?limit=3"; path !== undefined; ) {
    const { lines, next } = await page(bridge, path);
    expect(lines.length).toBeLessThanOrEqual(3);
    found.push(...usersIn(lines));
    path = next;
  }
  expect(found).toEqual(users.reverse());
  const [line] = (await page(bridge)).lines;
  expect(line).toMatchObject({ action: "token.mint", who: "operator", address: "127.0.0.1", outcome: "done" });
});

it("GET /audit has commands and broadcasts apart from logins and changes", async () => {
  const bridge = await start();
  const body = { channel: "dashboard", message: { event: "weather.warning", data: {} } };
  await bridge.call("/broadcast", { method: "POST", body, token: OPERATOR_KEY });
  await mintFor(bridge, "alice");
  const actions = async (log: string) =>
    (await page(bridge, `/audit?log=${log}`)).lines.map(({ action }: { action: string }) => action);
  expect([await actions("access"), await actions("traffic")]).toEqual([["token.mint"], ["broadcast"]]);
});

it("GET /audit has the lines of earlier runs, also from the previous file, and skips damaged lines", async () => {
  const dataPath = makeDataPath();
  onTestFinished(() => removeDataPath(dataPath));
  const line = (target: string) =>
    `${JSON.stringify({ time: "2026-01-01T00:00:00.000Z", action: "login", who: "operator", target, outcome: "done" })}\n`;
  writeFileSync(join(dataPath, "audit.log.1"), line("user:before"));
  const first = await startTestBridge({ dataPath });
  await mintFor(first, "alice");
  await first.stop();
  appendFileSync(join(dataPath, "audit.log"), '{"time":"2026-01-\n');
  const second = await start({ dataPath });
  await mintFor(second, "bob");
  expect(usersIn((await page(second)).lines)).toEqual(["bob", "alice", "before"]);
});

it("GET /audit cuts off a text that is very long", async () => {
  const bridge = await start();
  await bridge.call("/auth/token", {
    ...{ method: "POST", token: OPERATOR_KEY },
    body: { user_id: "alice", permissions: Array.from({ length: 90 }, (_, index) => `camera:camera-${index}:read`) },
  });
  const [line] = (await page(bridge)).lines;
  expect(line.target).toHaveLength(500);
});

it("GET /audit has the lines of all nodes", async () => {
  const server = await startRedis();
  onTestFinished(() => server.remove());
  const node = () => {
    const access = openRedis({ url: server.url, prefix: "audit", logger: pino({ level: "silent" }) });
    onTestFinished(() => access.close());
    return start({ redis: { access } });
  };
  const [one, other] = [await node(), await node()];
  await mintFor(one, "alice");
  await mintFor(other, "bob");
  for (const bridge of [one, other]) {
    await expect.poll(async () => usersIn((await page(bridge)).lines)).toEqual(["bob", "alice"]);
    expect(usersIn((await page(bridge, (await page(bridge, "/audit?limit=1")).next)).lines)).toEqual(["alice"]);
  }
});
