import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { cpSync, existsSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import mqtt from "mqtt";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { version } from "../../../deploy/config/package.ts";
import { startInProcessServer } from "../../support/in-process-server.ts";
import { makeDataPath, removeDataPath, runToEnd } from "../../support/skylapse.ts";
import { COMMAND, NO_SERVER, runCommand } from "../../support/skylapse-command.ts";

/** A command prints this line when it uses the store. */
const NO_SERVER_LINE = "skylapse: no server answers at http://127.0.0.1:9, so this command uses its store\n";

function newDataPath(): string {
  const dataPath = makeDataPath();
  onTestFinished(() => removeDataPath(dataPath));
  return dataPath;
}

async function skylapse(dataPath: string, ...args: string[]) {
  return await runCommand({ DATA_PATH: dataPath, ...NO_SERVER }, args);
}

async function startServer(dataPath: string, env: Record<string, string> = {}) {
  const server = await startInProcessServer(dataPath, env);
  onTestFinished(async () => {
    await server.end();
  });
  return { ...server, variables: { DATA_PATH: dataPath, SKYLAPSE_URL: server.http } };
}

it("adds a camera to a running server, replaces its secret, and removes the camera", async () => {
  const dataPath = newDataPath();
  const server = await startServer(dataPath);
  const skylapse = (...args: string[]) => runCommand(server.variables, ["camera", ...args]);
  const connect = async (password: string) => {
    const client = mqtt.connect(server.mqtt, { clientId: "north", username: "north", password, reconnectPeriod: 0 });
    onTestFinished(() => {
      client.end(true);
    });
    const closed = new Promise<void>((resolve) => client.once("close", () => resolve()));
    const refused = new Promise<string>((resolve) => client.once("error", ({ message }) => resolve(message)));
    const connected = new Promise<"connected">((resolve) => client.once("connect", () => resolve("connected")));
    return { client, closed, answer: await Promise.race([connected, refused]) };
  };

  const added = await skylapse("add", "north");
  expect(added).toMatchObject({ code: 0, errors: "" });
  const first = await connect(added.output);
  expect(first.answer).toBe("connected");
  await first.client.publishAsync("skylapse/v1/cameras/north/about", "{}", { qos: 1 });
  expect((await skylapse("list")).output).toMatch(/^north\t\d{4}-/);

  const rotated = await skylapse("rotate", "north");
  await first.closed;
  expect((await connect(added.output)).answer).toMatch(/refused/i);
  const second = await connect(rotated.output);
  expect(second.answer).toBe("connected");

  expect(await skylapse("remove", "north")).toMatchObject({ code: 0 });
  await second.closed;
  expect((await connect(rotated.output)).answer).toMatch(/refused/i);
  expect((await skylapse("list")).output).toBe("");
});

it("adds cameras and services before the first start, and reports a store that another process has open", async () => {
  const dataPath = newDataPath();
  const { output: secret } = await skylapse(dataPath, "service", "add", "stacker");
  expect(await skylapse(dataPath, "camera", "add", "west", "--certificate-name", "Camera 1")).toMatchObject({
    ...{ code: 0, output: "", errors: NO_SERVER_LINE },
  });
  expect((await skylapse(dataPath, "camera", "list")).output).toMatch(/^west\t\S+\tCamera 1$/);
  expect((await skylapse(dataPath, "camera", "remove", "stacker")).errors).toContain('there is no camera "stacker"');
  const server = await startServer(dataPath);
  const client = await mqtt.connectAsync(server.mqtt, { username: "stacker", password: secret, reconnectPeriod: 0 });
  await client.publishAsync("skylapse/v1/processing/stacker/status", "{}", { qos: 1 });
  client.end(true);
  const busy = await skylapse(dataPath, "camera", "list");
  expect(busy).toMatchObject({ code: 1, errors: expect.stringMatching(/no server answers at [\s\S]*in use/) });
});

it("imports the cameras of a devices.json, so that these cameras can connect", async () => {
  const dataPath = newDataPath();
  const secret = "a-secret-of-at-least-thirty-two-characters";
  const salt = randomBytes(16);
  const hash = createHash("sha256").update(salt).update(secret).digest("base64url");
  const device = { kind: "camera", salt: salt.toString("base64url"), hash, changedAt: "2026-01-01T00:00:00.000Z" };
  const path = join(dataPath, "devices.json");
  writeFileSync(path, JSON.stringify({ version: 1, devices: [{ id: "north", ...device }] }));
  const server = await startServer(dataPath);
  const client = await mqtt.connectAsync(server.mqtt, { username: "north", password: secret, reconnectPeriod: 0 });
  client.end(true);
  expect([existsSync(path), existsSync(`${path}.imported`)]).toEqual([false, true]);
  await server.end();
  writeFileSync(path, '{"version":1,"devices":[{"id":"+"}]}');
  const { code, errors, output } = await runToEnd({ dataPath });
  expect([code, errors + output]).toEqual([1, expect.stringContaining("devices.json are not valid")]);
});

describe("a command that fails", () => {
  const dataPath = makeDataPath();
  beforeAll(() => skylapse(dataPath, "camera", "add", "north"));
  afterAll(async () => {
    expect((await skylapse(dataPath, "camera", "list")).output).toMatch(/^north\t\S+$/);
    removeDataPath(dataPath);
  });

  it.each([
    ["a camera that exists already", ["camera", "add", "north"], 1, 'there is a device "north" already'],
    ["an id that contains a wildcard", ["camera", "add", "+"], 2, "It must be 1 to 63 of"],
    ["a short secret", ["camera", "add", "west", "--secret", "short"], 2, "at least 32"],
    ["a new secret for an unknown camera", ["camera", "rotate", "west"], 1, 'there is no camera "west"'],
    ["the removal of an unknown camera", ["camera", "remove", "west"], 1, 'there is no camera "west"'],
    ["an unknown command", ["camera", "ad"], 2, "(Did you mean add?)"],
    ["one argument too many", ["camera", "list", "north"], 2, "too many arguments"],
    ["a missing id", ["camera", "add"], 2, "missing required argument"],
  ] as const)("reports %s", async (_, args, code, why) => {
    const result = await skylapse(dataPath, ...args);
    expect(result.code).toBe(code);
    expect(result.errors).toContain(why);
  });
});

it.each([
  [["--help"], /up .*start the server[\s\S]*Exit codes/],
  [["doctor", "--help"], /--json[\s\S]*Exit codes/],
  [["token", "--help"], /--expires-in/],
])("prints help: %s", async (args, text) => {
  const { code, output } = await skylapse(newDataPath(), ...args);
  expect([code, output]).toEqual([0, expect.stringMatching(text)]);
});

it("starts the server", async () => {
  const ports = { WS_PORT: "0", MQTT_PORT: "0", MQTT_WS_PORT: "0" };
  const env = { PATH: process.env.PATH, SIMULATOR: "0", LOG_LEVEL: "silent", LOG_FORMAT: "text", ...ports };
  const child = spawn(process.execPath, [COMMAND, "--data-path", newDataPath(), "up"], { env });
  const ended = once(child, "close");
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  let printed = "";
  child.stdout.on("data", (chunk) => {
    printed += String(chunk);
  });
  await expect.poll(() => printed).toContain("Ctrl-C");
  child.kill("SIGTERM");
  expect(await ended).toEqual([0, null]);
});

it("does not use the store if the address of the server is set explicitly", async () => {
  const dataPath = join(newDataPath(), "none");
  const url = "http://127.0.0.1:9";
  const variables = { DATA_PATH: dataPath, OPERATOR_KEY: "k".repeat(32) };
  const why = expect.stringMatching(
    /^skylapse: no server answers at \S+ \(.+\): start it, or set --url to where it is\n$/,
  );
  expect(await runCommand({ ...variables, SKYLAPSE_URL: url }, ["user", "list"])).toMatchObject({
    code: 1,
    errors: why,
  });
  expect(await runCommand(variables, ["--url", url, "camera", "list"])).toMatchObject({ code: 1, errors: why });
  expect(existsSync(dataPath)).toBe(false);
});

it("checks the settings and writes nothing", async () => {
  const dataPath = newDataPath();
  const variables = { DATA_PATH: join(dataPath, "none"), WS_PORT: "0" };
  expect(await runCommand(variables, ["check-config"])).toMatchObject({ code: 0, output: "the settings are valid" });
  expect(existsSync(variables.DATA_PATH)).toBe(false);
  const wrong = await runCommand({ ...variables, WS_PORT: "many", HOST: "0.0.0.0" }, ["check-config"]);
  expect(wrong.code).toBe(1);
  for (const name of ["WS_PORT", "JWT_SECRET", "OPERATOR_KEY"]) expect(wrong.errors).toContain(`skylapse: ${name}:`);
  // check-config also finds what would make the start fail, such as a missing file.
  const tls = { TLS_CERT: join(dataPath, "none.crt"), TLS_KEY: join(dataPath, "none.key") };
  const missing = await runCommand({ ...variables, ...tls }, ["check-config"]);
  expect(missing.code).toBe(1);
  for (const name of ["TLS_CERT", "TLS_KEY"]) expect(missing.errors).toContain(`skylapse: ${name}: cannot read`);
});

it("names a misspelt setting in a check of the settings", async () => {
  const variables = { DATA_PATH: join(newDataPath(), "none"), WS_PORT: "0", MAX_CONNECTION_PER_USER: "3" };
  expect(await runCommand(variables, ["check-config"])).toMatchObject({
    code: 0,
    errors: "skylapse: MAX_CONNECTION_PER_USER is no setting and is ignored: did you mean MAX_CONNECTIONS_PER_USER?\n",
  });
});

it("is run by npx in a checkout, without a download", async () => {
  const npm = { npm_config_cache: newDataPath(), npm_config_offline: "true", npm_config_update_notifier: "false" };
  const env = { PATH: process.env.PATH, HOME: newDataPath(), ...npm };
  const cwd = join(dirname(COMMAND), "../..");
  const child = spawn("npx", ["skylapse", "--version"], { env, cwd, stdio: ["ignore", "pipe", "inherit"] });
  const [output] = await Promise.all([text(child.stdout), once(child, "close")]);
  expect([child.exitCode, output.trim()]).toEqual([0, version]);
});

it("says what to do before the first build", async () => {
  const folder = newDataPath();
  cpSync(dirname(COMMAND), join(folder, "deploy", "bin"), { recursive: true });
  cpSync(join(dirname(COMMAND), "../../package.json"), join(folder, "package.json"));
  const child = spawn(process.execPath, [join(folder, "deploy", "bin", basename(COMMAND)), "--version"]);
  const [errors] = await Promise.all([text(child.stderr), once(child, "close")]);
  expect([child.exitCode, errors]).toEqual([1, expect.stringContaining("npm run build")]);
});
