import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import mqtt from "mqtt";
import { expect, it, onTestFinished, vi } from "vitest";
import { makeDataPath, removeDataPath, startSkylapse } from "../../support/skylapse.ts";
import { COMMAND, NO_SERVER, runCommand } from "../../support/skylapse-command.ts";

// Each command is a separate process, whose start takes up to two seconds on a busy machine.
vi.setConfig({ testTimeout: 300_000 });

function newDataPath(): string {
  const dataPath = makeDataPath();
  onTestFinished(() => removeDataPath(dataPath));
  return dataPath;
}

async function startServer(dataPath: string) {
  const server = await startSkylapse({ dataPath, env: { LOG_LEVEL: "silent", SIMULATOR: "0" } });
  onTestFinished(async () => {
    await server.end();
  });
  const variables = { DATA_PATH: dataPath, SKYLAPSE_URL: server.http };
  const skylapse = (...args: string[]) => runCommand(variables, args);
  const key = JSON.parse(readFileSync(join(dataPath, "secrets.json"), "utf8")).operatorKey;
  const stats = async () => {
    const answer = await fetch(`${server.http}/stats`, { headers: { authorization: `Bearer ${key}` } });
    return (await answer.json()).node.journal;
  };
  return { ...server, skylapse, stats };
}

async function connect(url: string, password: string) {
  const client = mqtt.connect(url, { clientId: "camera-north", username: "north", password, reconnectPeriod: 0 });
  onTestFinished(() => {
    client.end(true);
  });
  return await new Promise<mqtt.MqttClient>((resolve, reject) => {
    client.once("connect", () => resolve(client));
    client.once("error", reject);
  });
}

const offline = (dataPath: string, ...args: string[]) => runCommand({ DATA_PATH: dataPath, ...NO_SERVER }, args);

it("copies the data of a running server while events arrive, and restores the copy with a new epoch", async () => {
  const server = await startServer(newDataPath());
  const secret = (await server.skylapse("camera", "add", "north")).output;
  const camera = await connect(server.mqtt, secret);
  const topic = "skylapse/v1/cameras/north/events/capture.completed";
  for (let sent = 0; sent < 50; sent++) await camera.publishAsync(topic, `{"n":${sent}}`, { qos: 1 });
  const atLeast = (await server.stats()).head;
  let stopped = false;
  const publishing = (async () => {
    while (!stopped) await camera.publishAsync(topic, '{"n":"meanwhile"}', { qos: 1 });
  })();
  const backup = join(newDataPath(), "backup");
  expect(await server.skylapse("backup", backup)).toMatchObject({ code: 0, errors: "" });
  stopped = true;
  await publishing;
  await camera.endAsync();
  const { epoch, head } = await server.stats();
  await server.end();

  const place = newDataPath();
  expect(await offline(place, "restore", backup)).toMatchObject({ code: 0, errors: "" });
  expect((await offline(place, "verify")).output).toMatch(/^ok +journal +epoch .*: \d+ events/m);
  const restored = await startServer(place);
  const there = await restored.stats();
  expect(there.epoch).not.toBe(epoch);
  expect(there.head).toBeGreaterThanOrEqual(atLeast);
  expect(there.head).toBeLessThanOrEqual(head + 10);
  // The secret of the camera, the operator key, and therefore all tokens are unchanged.
  await connect(restored.mqtt, secret);
  expect((await restored.skylapse("camera", "list")).output).toContain("north");
  expect(statSync(place).mode & 0o077).toBe(0);
});

it("refuses to restore a damaged backup, to overwrite data, and to create a backup inside the data", async () => {
  const dataPath = newDataPath();
  await offline(dataPath, "camera", "add", "north");
  const backup = join(newDataPath(), "backup");
  expect((await offline(dataPath, "backup", join(dataPath, "backup"))).errors).toMatch(/is inside/);
  expect((await offline(dataPath, "backup", backup)).code).toBe(0);
  expect(await offline(dataPath, "restore", backup)).toMatchObject({
    code: 1,
    errors: expect.stringMatching(/is not empty/),
  });
  expect((await offline(dataPath, "backup", backup)).errors).toMatch(/is not empty/);
  const secrets = join(backup, "secrets.json");
  writeFileSync(secrets, readFileSync(secrets, "utf8").replace(/[a-z]"/, '_"'));
  const place = join(newDataPath(), "place");
  expect(await offline(place, "restore", backup)).toMatchObject({
    code: 1,
    errors: expect.stringMatching(/secrets\.json has changed since/),
  });
  expect(existsSync(place)).toBe(false);
});

it("refuses to restore a file outside of the backup", async () => {
  const dataPath = newDataPath();
  await offline(dataPath, "camera", "add", "north");
  const backup = join(newDataPath(), "backup");
  expect((await offline(dataPath, "backup", backup)).code).toBe(0);
  const outside = Buffer.from("another user's file");
  writeFileSync(join(backup, "..", "outside"), outside);
  const file = join(backup, "backup.json");
  const catalog = JSON.parse(readFileSync(file, "utf8"));
  const sha256 = createHash("sha256").update(outside).digest("hex");
  catalog.files.push({ path: "../outside", bytes: outside.length, sha256 });
  writeFileSync(file, JSON.stringify(catalog));
  const place = join(newDataPath(), "place");
  expect(await offline(place, "restore", backup)).toMatchObject({
    code: 1,
    errors: expect.stringMatching(/backup\.json names \.\.\/outside, which is outside of /),
  });
  expect(existsSync(join(place, "..", "outside"))).toBe(false);
});

it("begins a new epoch after an interrupted restore of the journal", async () => {
  const dataPath = newDataPath();
  const server = await startServer(dataPath);
  const { epoch } = await server.stats();
  await server.end();
  // By its name, this file is restored after the events and before mark.json, which distinguishes a copy from
  // the original.
  writeFileSync(join(dataPath, "journal", "m-large"), Buffer.alloc(4 * 1_048_576));
  const backup = join(newDataPath(), "backup");
  expect((await offline(dataPath, "backup", backup)).code).toBe(0);
  const place = join(newDataPath(), "place");
  // A limit of the file size, in KiB, has the effect of a full disk.
  const limited = spawn(
    "bash",
    ["-c", 'ulimit -f 1024; exec "$@"', "bash", process.execPath, COMMAND, "restore", backup],
    {
      env: { PATH: process.env.PATH, DATA_PATH: place, ...NO_SERVER },
    },
  );
  await once(limited, "close");
  expect(limited.exitCode).not.toBe(0);
  expect(existsSync(join(place, "journal", "log", "CURRENT"))).toBe(true);
  expect(existsSync(join(place, "journal", "mark.json"))).toBe(false);
  expect((await (await startServer(place)).stats()).epoch).not.toBe(epoch);
});

it("verifies all data, and reports damage", async () => {
  const dataPath = newDataPath();
  const server = await startServer(dataPath);
  await server.skylapse("camera", "add", "north");
  const used = await server.skylapse("verify");
  expect(used).toMatchObject({ code: 0, output: expect.stringMatching(/^warn +cluster +a server has it open/m) });
  await server.end();
  expect(await offline(dataPath, "verify")).toMatchObject({ code: 0, errors: "" });
  const folder = join(dataPath, "cluster", "log");
  const [table = ""] = readdirSync(folder).filter((name) => name.endsWith(".ldb"));
  const bytes = readFileSync(join(folder, table));
  bytes[20] = (bytes[20] ?? 0) ^ 0xff;
  writeFileSync(join(folder, table), bytes);
  const { code, output } = await offline(dataPath, "verify");
  expect(code).toBe(1);
  expect(output).toMatch(/^wrong +cluster +\d+ bytes of .*\.ldb do not match their checksum/m);
  expect(readFileSync(join(folder, table))).toEqual(bytes);
  const doctor = await offline(dataPath, "doctor");
  expect(doctor.output).toMatch(/^wrong +stores +cluster in .* is damaged/m);
});

it("reports damage in /readyz and in doctor until the record of the damage is removed", async () => {
  const dataPath = newDataPath();
  await offline(dataPath, "camera", "add", "north");
  const folder = join(dataPath, "cluster", "log");
  writeFileSync(join(folder, "CURRENT"), "");
  const server = await startServer(dataPath);
  const ready = async () => (await fetch(`${server.http}/readyz`)).json();
  expect(await ready()).toEqual({
    status: "ready",
    notices: [expect.stringMatching(/^cluster: data was damaged or lost, found at /)],
  });
  expect((await server.skylapse("camera", "list")).output).toContain("north");
  const doctor = await server.skylapse("doctor");
  expect(doctor).toMatchObject({
    code: 1,
    output: expect.stringMatching(/^wrong +damage +cluster, .*revocations may be missing/m),
  });
  rmSync(join(dataPath, "damage.json"));
  await expect.poll(ready).toEqual({ status: "ready" });
});

it("refuses to start if one character of a secret has changed", async () => {
  const dataPath = newDataPath();
  await offline(dataPath, "camera", "add", "north");
  const file = join(dataPath, "secrets.json");
  const text = readFileSync(file, "utf8");
  const at = text.indexOf('"jwtSecret": "') + 20;
  writeFileSync(file, `${text.slice(0, at)}${text[at] === "A" ? "B" : "A"}${text.slice(at + 1)}`);
  const { code, errors } = await offline(dataPath, "up");
  expect(code).toBe(1);
  expect(errors).toMatch(/secrets\.json is damaged, it does not match its "check"/);
  writeFileSync(file, JSON.stringify({ ...JSON.parse(text), check: undefined }));
  expect((await offline(dataPath, "camera", "list")).code).toBe(0);
});
