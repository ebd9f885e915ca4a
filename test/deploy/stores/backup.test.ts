import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import mqtt from "mqtt";
import { expect, it, onTestFinished } from "vitest";
import { readBackendConfig } from "../../../deploy/config/backend-config.ts";
import { examine } from "../../../deploy/doctor/doctor.ts";
import type { Finding } from "../../../deploy/doctor/finding.ts";
import { verifyData } from "../../../deploy/doctor/verify.ts";
import { serverApi } from "../../../deploy/operator/operator-api.ts";
import { backUp, restore } from "../../../deploy/stores/backup.ts";
import { askStore, generatedSecrets, registerCamera, startInProcessServer } from "../../support/in-process-server.ts";
import { makeDataPath, removeDataPath } from "../../support/skylapse.ts";
import { BUNDLED_COMMAND, NO_SERVER, runCommand } from "../../support/skylapse-command.ts";

// The functions of the commands. full-backup.test.ts runs the commands themselves.

function newDataPath(): string {
  const dataPath = makeDataPath();
  onTestFinished(() => removeDataPath(dataPath));
  return dataPath;
}

async function startServer(dataPath: string) {
  const server = await startInProcessServer(dataPath);
  onTestFinished(() => server.end());
  const key: string = generatedSecrets(dataPath).operatorKey;
  const stats = async () => {
    const answer = await fetch(`${server.http}/stats`, { headers: { authorization: `Bearer ${key}` } });
    return (await answer.json()).node.journal;
  };
  const devices = async () => JSON.stringify(await serverApi({ url: server.http, key }).call("GET", "/devices"));
  return { ...server, key, stats, devices };
}

const lines = (findings: readonly Finding[]) =>
  findings.map(({ verdict, subject, text }) => `${verdict} ${subject} ${text}`).join("\n");
const verify = async (dataPath: string) => lines(await verifyData(dataPath));
/** The findings of `skylapse doctor`, for a server at the URL or a stopped one. */
const doctor = async (dataPath: string, url?: string, key = "") =>
  lines(
    await examine({
      env: { DATA_PATH: dataPath, WS_PORT: "0", MQTT_PORT: "0", MQTT_WS_PORT: "0" },
      ...{ url: url ?? `http://127.0.0.1:${NO_SERVER.WS_PORT}`, isNamed: url !== undefined, key: () => key },
    }),
  );

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

it("copies the data of a running server while events arrive, and restores the copy with a new epoch", async () => {
  const dataPath = newDataPath();
  const secret = await registerCamera(dataPath, "north");
  const server = await startServer(dataPath);
  const camera = await connect(server.mqtt, secret);
  const topic = "skylapse/v1/cameras/north/events/capture.completed";
  for (let sent = 0; sent < 50; sent++) await camera.publishAsync(topic, `{"n":${sent}}`, { qos: 1 });
  const atLeast = (await server.stats()).head;
  let stopped = false;
  const publishing = (async () => {
    while (!stopped) await camera.publishAsync(topic, '{"n":"meanwhile"}', { qos: 1 });
  })();
  const backup = join(newDataPath(), "backup");
  await backUp(dataPath, backup);
  stopped = true;
  await publishing;
  await camera.endAsync();
  const { epoch, head } = await server.stats();
  await server.end();

  const place = newDataPath();
  await restore(backup, place);
  expect(await verify(place)).toMatch(/^ok journal epoch .*: \d+ events/m);
  const restored = await startServer(place);
  const there = await restored.stats();
  expect(there.epoch).not.toBe(epoch);
  expect(there.head).toBeGreaterThanOrEqual(atLeast);
  expect(there.head).toBeLessThanOrEqual(head + 10);
  // The secret of the camera, the operator key, and therefore all tokens are unchanged.
  await connect(restored.mqtt, secret);
  expect(await restored.devices()).toContain("north");
  expect(statSync(place).mode & 0o077).toBe(0);
});

it("refuses to restore a damaged backup, to overwrite data, and to create a backup inside the data", async () => {
  const dataPath = newDataPath();
  await registerCamera(dataPath, "north");
  const backup = join(newDataPath(), "backup");
  await expect(backUp(dataPath, join(dataPath, "backup"))).rejects.toThrow(/is inside/);
  await backUp(dataPath, backup);
  await expect(restore(backup, dataPath)).rejects.toThrow(/is not empty/);
  await expect(backUp(dataPath, backup)).rejects.toThrow(/is not empty/);
  const secrets = join(backup, "secrets.json");
  writeFileSync(secrets, readFileSync(secrets, "utf8").replace(/[a-z]"/, '_"'));
  const place = join(newDataPath(), "place");
  await expect(restore(backup, place)).rejects.toThrow(/secrets\.json has changed since/);
  expect(existsSync(place)).toBe(false);
});

it("refuses to restore a file outside of the backup", async () => {
  const dataPath = newDataPath();
  await registerCamera(dataPath, "north");
  const backup = join(newDataPath(), "backup");
  await backUp(dataPath, backup);
  const outside = Buffer.from("another user's file");
  writeFileSync(join(backup, "..", "outside"), outside);
  const file = join(backup, "backup.json");
  const catalog = JSON.parse(readFileSync(file, "utf8"));
  const sha256 = createHash("sha256").update(outside).digest("hex");
  catalog.files.push({ path: "../outside", bytes: outside.length, sha256 });
  writeFileSync(file, JSON.stringify(catalog));
  const place = join(newDataPath(), "place");
  await expect(restore(backup, place)).rejects.toThrow(/backup\.json names \.\.\/outside, which is outside of /);
  expect(existsSync(join(place, "..", "outside"))).toBe(false);
});

it("no server starts with data whose restore was interrupted", async () => {
  const dataPath = newDataPath();
  await (await startServer(dataPath)).end();
  // By its name, this file is restored after some files of the journal and before others.
  writeFileSync(join(dataPath, "journal", "m-large"), Buffer.alloc(4 * 1_048_576));
  const backup = join(newDataPath(), "backup");
  await backUp(dataPath, backup);
  const place = join(newDataPath(), "place");
  // A limit of the file size, in KiB, has the effect of a full disk.
  const limited = spawn(
    "bash",
    ["-c", 'ulimit -f 1024; exec "$@"', "bash", process.execPath, BUNDLED_COMMAND, "restore", backup],
    {
      env: { PATH: process.env.PATH, DATA_PATH: place, ...NO_SERVER },
    },
  );
  await once(limited, "close");
  expect(limited.exitCode).not.toBe(0);
  expect(existsSync(join(place, "journal", "log", "CURRENT"))).toBe(true);
  expect(existsSync(join(place, "journal", "mark.json"))).toBe(false);
  const refusal = /a restore to .+place is under way or was interrupted: .+ empty this folder/;
  await expect(startServer(place)).rejects.toThrow(refusal);
  expect((await runCommand({ DATA_PATH: place, ...NO_SERVER }, ["user", "list"])).errors).toMatch(refusal);
  rmSync(place, { recursive: true });
  await restore(backup, place);
  await (await startServer(place)).end();
});

it("does not call data without a folder undamaged", async () => {
  const { code, output } = await runCommand({ DATA_PATH: join(newDataPath(), "misspelt") }, ["verify"]);
  expect([code, output]).toEqual([1, expect.stringMatching(/^wrong +data +.+misspelt is not a folder: set DATA_PATH/)]);
});

it("verifies all data, and reports damage", async () => {
  const dataPath = newDataPath();
  await registerCamera(dataPath, "north");
  const server = await startServer(dataPath);
  expect(await verify(dataPath)).toMatch(/^warn cluster a server has it open/m);
  await server.end();
  expect(await verify(dataPath)).not.toMatch(/^(warn|wrong)/m);
  const folder = join(dataPath, "cluster", "log");
  const [table = ""] = readdirSync(folder).filter((name) => name.endsWith(".ldb"));
  const bytes = readFileSync(join(folder, table));
  bytes[20] = (bytes[20] ?? 0) ^ 0xff;
  writeFileSync(join(folder, table), bytes);
  const { code, output } = await runCommand({ DATA_PATH: dataPath }, ["verify"]);
  expect(code).toBe(1);
  expect(output).toMatch(/^wrong +cluster +\d+ bytes of .*\.ldb do not match their checksum/m);
  expect(readFileSync(join(folder, table))).toEqual(bytes);
  expect(await doctor(dataPath)).toMatch(/^wrong stores cluster in .* is damaged/m);
});

it("reports damage in /readyz and in doctor until the record of the damage is removed", async () => {
  const dataPath = newDataPath();
  await registerCamera(dataPath, "north");
  const folder = join(dataPath, "cluster", "log");
  writeFileSync(join(folder, "CURRENT"), "");
  const server = await startServer(dataPath);
  const ready = async () => (await fetch(`${server.http}/readyz`)).json();
  expect(await ready()).toEqual({
    status: "ready",
    notices: [expect.stringMatching(/^cluster: data was damaged or lost, found at /)],
  });
  expect(await server.devices()).toContain("north");
  expect(await doctor(dataPath, server.http, server.key)).toMatch(
    /^wrong damage cluster, .*revocations may be missing/m,
  );
  rmSync(join(dataPath, "damage.json"));
  await expect.poll(ready).toEqual({ status: "ready" });
});

it("refuses to start if one character of a secret has changed", async () => {
  const dataPath = newDataPath();
  await registerCamera(dataPath, "north");
  const file = join(dataPath, "secrets.json");
  const text = readFileSync(file, "utf8");
  const at = text.indexOf('"jwtSecret": "') + 20;
  writeFileSync(file, `${text.slice(0, at)}${text[at] === "A" ? "B" : "A"}${text.slice(at + 1)}`);
  // A start calls this function first, so the start fails.
  expect(() => readBackendConfig({ DATA_PATH: dataPath })).toThrow(
    /secrets\.json is damaged, it does not match its "check"/,
  );
  writeFileSync(file, JSON.stringify({ ...JSON.parse(text), check: undefined }));
  expect(JSON.stringify(await askStore(dataPath, "GET", "/devices"))).toContain("north");
});
