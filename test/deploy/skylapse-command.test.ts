import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import mqtt from "mqtt";
import { expect, it, onTestFinished } from "vitest";
import { makeDataPath, removeDataPath, startSkylapse } from "../support/skylapse.ts";

const PROGRAM = fileURLToPath(new URL("../../dist/deploy/skylapse.js", import.meta.url));

function newDataPath(): string {
  const dataPath = makeDataPath();
  onTestFinished(() => removeDataPath(dataPath));
  return dataPath;
}

async function skylapse(dataPath: string, ...args: string[]) {
  return await run({ DATA_PATH: dataPath }, "", ...args);
}

async function run(variables: Record<string, string>, input: string, ...args: string[]) {
  const env = { ...process.env, ...variables };
  const child = spawn(process.execPath, [PROGRAM, ...args], { env, stdio: ["pipe", "pipe", "pipe"] });
  // A command that reads nothing has ended before it is written to.
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  return { code: child.exitCode, output: output.trim(), errors };
}

it("lets a camera into a running server, gives it another secret, and puts it out", async () => {
  const dataPath = newDataPath();
  const server = await startSkylapse({ dataPath, env: { SIMULATOR: "0", LOG_LEVEL: "silent" } });
  onTestFinished(async () => {
    await server.end();
  });
  const connect = async (password: string) => {
    const client = mqtt.connect(server.mqtt, { clientId: "north", username: "north", password, reconnectPeriod: 0 });
    onTestFinished(() => {
      client.end(true);
    });
    const closed = new Promise<void>((resolve) => client.once("close", () => resolve()));
    const refused = new Promise<string>((resolve) => client.once("error", ({ message }) => resolve(message)));
    const connected = new Promise<"connected">((resolve) => client.once("connect", () => resolve("connected")));
    return { closed, answer: await Promise.race([connected, refused]) };
  };

  const added = await skylapse(dataPath, "camera", "add", "north");
  expect(added).toMatchObject({ code: 0, errors: "" });
  const first = await connect(added.output);
  expect(first.answer).toBe("connected");
  expect((await skylapse(dataPath, "camera", "list")).output).toMatch(/^north\t\d{4}-/);

  const rotated = await skylapse(dataPath, "camera", "rotate", "north");
  await first.closed;
  expect((await connect(added.output)).answer).toMatch(/refused/i);
  const second = await connect(rotated.output);
  expect(second.answer).toBe("connected");

  expect(await skylapse(dataPath, "camera", "remove", "north")).toMatchObject({ code: 0 });
  await second.closed;
  expect((await connect(rotated.output)).answer).toMatch(/refused/i);
  expect((await skylapse(dataPath, "camera", "list")).output).toBe("");
});

it.each([
  ["a camera that is there already", ["camera", "add", "north"], 1, 'there is a device "north" already'],
  ["an id that could widen into a filter", ["camera", "add", "+"], 1, "the device id must be"],
  ["a secret that can be guessed", ["camera", "add", "west", "--secret", "short"], 1, "shorter than 32"],
  ["another secret for a camera that is not there", ["camera", "rotate", "west"], 1, 'there is no camera "west"'],
  ["a camera to remove that is not there", ["camera", "remove", "west"], 1, 'there is no camera "west"'],
  ["an unknown command", ["camera", "steal"], 2, "unknown command"],
  ["a missing id", ["camera", "add"], 2, "missing required argument"],
] as const)("refuses %s, and says why", async (_, args, code, why) => {
  const dataPath = newDataPath();
  await skylapse(dataPath, "camera", "add", "north");
  const result = await skylapse(dataPath, ...args);
  expect(result.code).toBe(code);
  expect(result.errors).toContain(why);
  expect((await skylapse(dataPath, "camera", "list")).output).toMatch(/^north\t\S+$/);
});

it("explains itself", async () => {
  const { code, output } = await skylapse(newDataPath(), "--help");
  expect(code).toBe(0);
  expect(output).toMatch(/up .*start the server/);
  expect(output).toContain("Exit codes");
});

it("starts the server", async () => {
  const env = { ...process.env, SIMULATOR: "0", WS_PORT: "0", MQTT_PORT: "0", MQTT_WS_PORT: "0", LOG_LEVEL: "silent" };
  const child = spawn(process.execPath, [PROGRAM, "--data-path", newDataPath(), "up"], { env });
  const ended = once(child, "close");
  let printed = "";
  child.stdout.on("data", (chunk) => {
    printed += String(chunk);
  });
  await expect.poll(() => printed, { timeout: 10_000 }).toContain("Ctrl-C");
  child.kill("SIGTERM");
  expect(await ended).toEqual([0, null]);
});

it("makes an account that logs in, gives it another password, and removes it; mints tokens", async () => {
  const dataPath = newDataPath();
  const server = await startSkylapse({ dataPath, env: { SIMULATOR: "0", LOG_LEVEL: "silent" } });
  onTestFinished(async () => {
    await server.end();
  });
  const variables = { DATA_PATH: dataPath, SKYLAPSE_URL: server.http };
  const logIn = async (password: string) => {
    const body = JSON.stringify({ user_id: "alice", password });
    const headers = { "content-type": "application/json" };
    return (await fetch(`${server.http}/auth/login`, { method: "POST", headers, body })).status;
  };

  const first = "correct horse battery";
  expect(await run(variables, `${first}\n`, "user", "add", "alice")).toMatchObject({ code: 0, errors: "" });
  expect(await logIn(first)).toBe(200);
  expect((await run(variables, "", "user", "list")).output).toBe("alice\tviewer");
  const again = await run(variables, `${first}\n`, "user", "add", "alice");
  expect(again).toMatchObject({ code: 1, errors: 'skylapse: There is an account "alice" already\n' });
  expect((await run(variables, "short\n", "user", "passwd", "alice")).errors).toContain("at least 10 characters");
  expect((await run(variables, "another horse battery\n", "user", "passwd", "alice")).code).toBe(0);
  expect([await logIn(first), await logIn("another horse battery")]).toEqual([401, 200]);
  expect((await run(variables, "", "user", "remove", "alice")).code).toBe(0);
  expect((await run(variables, "", "user", "list")).output).toBe("");

  const { output: token } = await run(variables, "", "token", "carol", "--permission", "admin", "--expires-in", "60");
  const users = await fetch(`${server.http}/users`, { headers: { authorization: `Bearer ${token}` } });
  expect(users.status).toBe(200);
});

it("says when no server answers, or when there is no operator key", async () => {
  const dataPath = newDataPath();
  const nobody = { DATA_PATH: dataPath, SKYLAPSE_URL: "http://127.0.0.1:9", OPERATOR_KEY: "k".repeat(32) };
  expect(await run(nobody, "", "user", "list")).toMatchObject({
    code: 1,
    errors: "skylapse: no server answers at http://127.0.0.1:9: start it, or name it by --url\n",
  });
  const keyless = await run({ ...nobody, OPERATOR_KEY: "" }, "", "user", "list");
  expect(keyless).toMatchObject({ code: 1, errors: expect.stringContaining("there is no OPERATOR_KEY") });
});

it("checks the settings and writes nothing", async () => {
  const dataPath = newDataPath();
  const variables = { DATA_PATH: join(dataPath, "none"), HOST: "", WS_PORT: "0" };
  expect(await run(variables, "", "check-config")).toMatchObject({ code: 0, output: "the settings are right" });
  expect(existsSync(variables.DATA_PATH)).toBe(false);
  const wrong = await run({ ...variables, WS_PORT: "many", HOST: "0.0.0.0" }, "", "check-config");
  expect(wrong.code).toBe(1);
  for (const name of ["WS_PORT", "JWT_SECRET", "OPERATOR_KEY"]) expect(wrong.errors).toContain(`skylapse: ${name}:`);
});
