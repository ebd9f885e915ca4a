import { spawn } from "node:child_process";
import { once } from "node:events";
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
  const env = { ...process.env, DATA_PATH: dataPath };
  const child = spawn(process.execPath, [PROGRAM, ...args], { env, stdio: ["ignore", "pipe", "pipe"] });
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
