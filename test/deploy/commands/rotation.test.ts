import { chownSync, statSync } from "node:fs";
import { join } from "node:path";
import mqtt from "mqtt";
import { expect, it, onTestFinished } from "vitest";
import { readBackendConfig } from "../../../deploy/config/backend-config.ts";
import {
  askStore,
  generatedSecrets,
  type InProcessServer,
  registerCamera,
  startInProcessServer,
} from "../../support/in-process-server.ts";
import { makeDataPath, removeDataPath, startSkylapse } from "../../support/skylapse.ts";
import { NO_SERVER, runCommand } from "../../support/skylapse-command.ts";

function newDataPath(): string {
  const dataPath = makeDataPath();
  onTestFinished(() => removeDataPath(dataPath));
  return dataPath;
}

async function start(dataPath: string, env: Record<string, string> = {}): Promise<InProcessServer> {
  const server = await startInProcessServer(dataPath, env);
  onTestFinished(() => server.end());
  return server;
}

type Server = Pick<InProcessServer, "http" | "mqtt">;

async function call({ http }: Server, method: string, path: string, token: string, body?: object) {
  const answer = await fetch(`${http}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    ...(body && { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  return { status: answer.status, json: text.startsWith("{") ? JSON.parse(text) : undefined };
}

/** @returns whether the server accepts the secret of a device */
async function accepts({ mqtt: url }: Server, username: string, password: string): Promise<boolean> {
  const client = mqtt.connect(url, { clientId: username, username, password, reconnectPeriod: 0 });
  try {
    return await new Promise((resolve) => {
      client.once("connect", () => resolve(true));
      client.once("error", () => resolve(false));
      client.once("close", () => resolve(false));
    });
  } finally {
    client.end(true);
  }
}

it("replaces all generated secrets, while tokens, logins and devices stay valid", async () => {
  const dataPath = newDataPath();
  const skylapse = (...args: string[]) => runCommand({ DATA_PATH: dataPath, ...NO_SERVER }, args);
  const password = "correct horse battery";
  // A start with the simulator generates its secrets.
  readBackendConfig({ DATA_PATH: dataPath, SIMULATOR: "1" });
  await askStore(dataPath, "POST", "/users", { user_id: "alice", password, role: "viewer" });
  const camera = await registerCamera(dataPath, "west");
  const first = await start(dataPath, { METRICS_TOKEN: "the-first-token-of-prometheus" });
  const before = generatedSecrets(dataPath);
  const asked = { user_id: "reader", permissions: ["dashboard:read"] };
  const { token } = (await call(first, "POST", "/auth/token", before.operatorKey, asked)).json;
  const login = (await call(first, "POST", "/auth/login", "", { user_id: "alice", password })).json;

  expect(await skylapse("secrets", "rotate")).toMatchObject({
    code: 0,
    output: expect.stringMatching(
      /^jwt-secret: replaced\noperator-key: replaced\nsimulator: replaced\nrestart the server/,
    ),
  });
  const after = generatedSecrets(dataPath);
  // The running server uses its old secrets until its end.
  expect((await call(first, "GET", "/users", before.operatorKey)).status).toBe(200);
  await first.end();

  // Starts the program, because the simulator runs in a process of the program.
  const env = { SIMULATOR: "1", METRICS_TOKEN: "the-second-token-of-prometheus" };
  const second = await startSkylapse({ dataPath, env });
  onTestFinished(async () => {
    await second.end("SIGKILL");
  });
  expect((await call(second, "GET", "/cameras", token)).status).toBe(200);
  expect((await call(second, "GET", "/cameras", login.token)).status).toBe(200);
  const refreshed = await call(second, "POST", "/auth/refresh", "", { refresh_token: login.refresh_token });
  expect(refreshed.status).toBe(200);
  expect(await accepts(second, "west", camera)).toBe(true);
  expect((await call(second, "GET", "/users", before.operatorKey)).status).toBe(401);
  expect((await call(second, "GET", "/users", after.operatorKey)).status).toBe(200);
  expect(await accepts(second, "worker", before.simulator.worker)).toBe(false);
  expect(await accepts(second, "worker", after.simulator.worker)).toBe(true);
  expect((await call(second, "GET", "/metrics", "the-first-token-of-prometheus")).status).toBe(401);
  expect((await call(second, "GET", "/metrics", "the-second-token-of-prometheus")).status).toBe(200);
  await second.end();

  expect(await skylapse("secrets", "drop-previous")).toMatchObject({
    code: 0,
    output: "removed 1: restart the server",
  });
  const third = await start(dataPath);
  expect((await call(third, "GET", "/cameras", token)).status).toBe(401);
  expect((await call(third, "GET", "/cameras", refreshed.json.token)).status).toBe(200);
});

it("leaves the file of the secrets to the user of the server if root replaces them", async () => {
  const dataPath = newDataPath();
  readBackendConfig({ DATA_PATH: dataPath });
  const file = join(dataPath, "secrets.json");
  const owner = process.getuid?.() === 0 ? 65_534 : process.getuid?.();
  if (owner === 65_534) chownSync(file, owner, owner);
  expect(await runCommand({ DATA_PATH: dataPath, ...NO_SERVER }, ["secrets", "rotate"])).toMatchObject({ code: 0 });
  expect([statSync(file).uid, statSync(file).mode & 0o777]).toEqual([owner, 0o600]);
});

it("accepts tokens of the old line of JWT_SECRET until the line is removed", async () => {
  const dataPath = newDataPath();
  const [older, newer] = ["o".repeat(32), "n".repeat(32)];
  const asked = { user_id: "reader", permissions: ["dashboard:read"] };
  const first = await start(dataPath, { JWT_SECRET: older });
  const { operatorKey } = generatedSecrets(dataPath);
  const { token } = (await call(first, "POST", "/auth/token", operatorKey, asked)).json;
  await first.end();
  const both = await start(dataPath, { JWT_SECRET: `${newer}\n${older}` });
  expect((await call(both, "GET", "/cameras", token)).status).toBe(200);
  await both.end();
  const one = await start(dataPath, { JWT_SECRET: newer });
  expect((await call(one, "GET", "/cameras", token)).status).toBe(401);
  const { json } = await call(one, "POST", "/auth/token", operatorKey, asked);
  expect((await call(one, "GET", "/cameras", json.token)).status).toBe(200);
});

it("does not replace secrets that the environment sets", async () => {
  const dataPath = newDataPath();
  const env = { DATA_PATH: dataPath, ...NO_SERVER, JWT_SECRET: "j".repeat(32) };
  expect((await runCommand(env, ["secrets", "rotate"])).errors).toMatch(/secrets\.json does not exist: set DATA_PATH/);
  readBackendConfig(env);
  const before = generatedSecrets(dataPath);
  expect(await runCommand(env, ["secrets", "rotate", "jwt-secret"])).toMatchObject({
    code: 1,
    errors: expect.stringContaining(
      "JWT_SECRET is set, so the server uses no generated secret: replace the value of the setting",
    ),
  });
  expect(generatedSecrets(dataPath)).toEqual(before);
  expect((await runCommand(env, ["secrets", "rotate"])).output).toMatch(
    /^jwt-secret: not replaced, because JWT_SECRET/,
  );
  expect(generatedSecrets(dataPath).jwtSecret).toBe(before.jwtSecret);
  expect(generatedSecrets(dataPath).operatorKey).not.toBe(before.operatorKey);
});
