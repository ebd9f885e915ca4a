import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { startRunningClock } from "../support/running-clock.ts";
import { makeDataPath, removeDataPath, runToEnd, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const cleanUps: (() => Promise<unknown> | unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

function dataPath(): string {
  const path = makeDataPath();
  cleanUps.push(() => removeDataPath(path));
  return path;
}

async function start(options: Parameters<typeof startSkylapse>[0]): Promise<Skylapse> {
  const skylapse = await startSkylapse(options);
  cleanUps.push(() => skylapse.end("SIGKILL"));
  return skylapse;
}

async function startError(env: Record<string, string>, path = dataPath()): Promise<string[]> {
  const { code, errors } = await runToEnd({ dataPath: path, env });
  expect(code).toBe(1);
  // Log lines may precede the error. The error is the last text on the screen.
  const lines = errors.trim().split("\n");
  const first = lines.findIndex((line) => line.startsWith("Cannot start: "));
  expect(lines.slice(first).every((line) => line.startsWith("Cannot start: "))).toBe(true);
  return lines.slice(first);
}

describe("a first start", () => {
  it("creates secrets that only this user can read, and keeps them at the next start", async () => {
    const path = dataPath();
    const first = await start({ dataPath: path });
    const file = join(path, "secrets.json");
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const secrets = readFileSync(file, "utf8");
    expect(first.output()).not.toContain(JSON.parse(secrets).jwtSecret);
    await first.end();
    const second = await start({ dataPath: path });
    expect(readFileSync(file, "utf8")).toBe(secrets);
    expect(await second.end()).toBe(0);
  });

  it("prints the running parts and their addresses in a few lines, and answers /readyz", async () => {
    const skylapse = await start({ dataPath: dataPath(), asBuilt: true, env: { SIMULATOR: "1" } });
    const lines = skylapse.output().trim().split("\n");
    const ready = lines.map((line) => JSON.parse(line)).find(({ msg }) => msg === "ready");
    expect(ready).toMatchObject({
      level: "info",
      cameras: expect.stringMatching(/^north/),
      warnings: expect.any(Array),
    });
    expect((await fetch(`${skylapse.http}/readyz`)).status).toBe(200);
  });
});

describe("Ctrl-C", () => {
  it.each(["SIGINT", "SIGTERM"] as const)(
    "ends the server, its simulator and its clients soon after %s",
    async (signal) => {
      const skylapse = await start({ dataPath: dataPath(), env: { SIMULATOR: "2", CAPTURE_INTERVAL_S: "1" } });
      const elapsedMs = startRunningClock();
      expect(await skylapse.end(signal)).toBe(0);
      expect(elapsedMs()).toBeLessThan(10_000);
    },
  );
});

describe("a failed start", () => {
  it("names the port, the variable and the remedy if the port is in use", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    cleanUps.push(() => taken.close());
    await new Promise((resolve) => taken.once("listening", resolve));
    const address = taken.address();
    const port = String(typeof address === "object" ? address?.port : "");
    for (const name of ["WS_PORT", "MQTT_PORT", "MQTT_WS_PORT"]) {
      const lines = await startError({ [name]: port });
      expect(lines).toHaveLength(1);
      expect(lines[0]).toContain(`port ${port}`);
      expect(lines[0]).toContain(name);
    }
  });

  it("names a data path that is not writable", async () => {
    const path = dataPath();
    // Not even root can create a folder below a file.
    writeFileSync(join(path, "file"), "");
    const lines = await startError({ DATA_PATH: join(path, "file", "data") }, path);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain("DATA_PATH");
  });

  it("leaves damaged secrets unchanged", async () => {
    const path = dataPath();
    writeFileSync(join(path, "secrets.json"), "{");
    const lines = await startError({}, path);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain("secrets.json is damaged");
    expect(readFileSync(join(path, "secrets.json"), "utf8")).toBe("{");
  });

  it("reports a data path that another process uses", async () => {
    const path = dataPath();
    await start({ dataPath: path });
    const lines = await startError({}, path);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/in use|another/);
  });

  it("names every invalid variable, each on a line", async () => {
    const lines = await startError({
      WS_PORT: "http",
      MQTT_PORT: "70000",
      SIMULATOR: "many",
      TIMEZONE: "Mars/Base",
      JWT_SECRET: "short",
    });
    const all = lines.join("\n");
    for (const name of ["WS_PORT", "MQTT_PORT", "SIMULATOR", "TIMEZONE", "JWT_SECRET"])
      expect(all).toContain(`${name}: `);
    expect(all).not.toContain("short");
  });

  it("refuses a public address without configured secrets", async () => {
    const path = dataPath();
    const lines = await startError({ HOST: "0.0.0.0" }, path);
    expect(lines.join("\n")).toContain("JWT_SECRET");
    expect(lines.join("\n")).toContain("OPERATOR_KEY");
  });
});

it("the server prefers an environment variable to a generated secret", async () => {
  const path = dataPath();
  mkdirSync(path, { recursive: true });
  const first = await start({ dataPath: path });
  await first.end();
  expect(existsSync(join(path, "secrets.json"))).toBe(true);
  chmodSync(join(path, "secrets.json"), 0o600);
  const second = await start({ dataPath: path, env: { OPERATOR_KEY: "a-key-that-the-operator-chose" } });
  const answer = await fetch(`${second.http}/auth/token`, {
    method: "POST",
    headers: {
      authorization: "Bearer a-key-that-the-operator-chose",
      "x-forwarded-for": "192.0.2.1",
      "content-type": "application/json",
    },
    body: JSON.stringify({ user_id: "alice", permissions: ["dashboard:read"] }),
  });
  expect(answer.status).toBe(200);
});
