import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const SCRIPTS = ["deploy", "deploy/proxy", "test/containers"].flatMap((folder) =>
  readdirSync(join(ROOT, folder))
    .filter((name) => name.endsWith(".sh"))
    .map((name) => join(folder, name)),
);

it("shellcheck finds nothing in the scripts", () => {
  expect(SCRIPTS).toContain("deploy/deploy-production.sh");
  const { stdout, status } = spawnSync("shellcheck", SCRIPTS, { cwd: ROOT, encoding: "utf8" });
  expect(stdout).toBe("");
  expect(status).toBe(0);
});

/**
 * A stand-in for Docker that runs nothing: npm run test:containers tries the script with a real engine. The stand-in
 * says that all images exist. After a start, it lists one container, and says that this container is healthy.
 */
const DOCKER = `#!/bin/bash
echo "$*" >>"$CALLS"
case "$*" in
  "ps -a "*) if grep -q " up -d" "$CALLS"; then echo container; fi ;;
  "inspect -f {{.State.Running}}"*) echo true ;;
  *"skylapse camera list"*) cat "$CAMERAS" 2>/dev/null ;;
  *"skylapse camera add"*) echo secret-of-the-camera; echo ridge >>"$CAMERAS" ;;
esac
exit 0
`;

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "deploy-production-"));
  cpSync(join(ROOT, "deploy"), join(folder, "deploy"), {
    recursive: true,
    filter: (path) => !/\/(data|\.env)$/.test(path),
  });
  mkdirSync(join(folder, "bin"));
  writeFileSync(join(folder, "bin", "docker"), DOCKER, { mode: 0o755 });
  // Ports that no program of this machine uses: the script looks whether they are free.
  const ports = ["FRONTEND_PORT", "WS_PORT", "MQTT_PORT", "MQTT_TLS_PORT", "HTTP_PORT", "HTTPS_PORT"];
  writeEnv(ports.map((name, index) => `${name}=${index + 2}\n`).join(""));
});

afterEach(() => rmSync(folder, { recursive: true }));

const envFile = () => join(folder, "deploy", ".env");
const readEnv = () => readFileSync(envFile(), "utf8");
const writeEnv = (lines: string) => writeFileSync(envFile(), lines, { flag: "a" });

function deploy(...args: string[]) {
  const { status, stdout, stderr } = spawnSync("bash", [join(folder, "deploy", "deploy-production.sh"), ...args], {
    encoding: "utf8",
    env: {
      PATH: `${join(folder, "bin")}:${process.env.PATH}`,
      CALLS: join(folder, "calls"),
      CAMERAS: join(folder, "cameras"),
      ENGINE: "docker",
      HEALTH_TIMEOUT_S: "1",
    },
  });
  return { status, stdout, stderr };
}

describe("deploy-production.sh", () => {
  it("makes each missing secret once, and never changes one", () => {
    writeEnv("JWT_SECRET=a-secret-of-the-operator-that-must-stay\nPOSTGRES_PASSWORD=chosen");
    const first = deploy();
    expect(first.stderr).toBe("");
    expect(first.status).toBe(0);
    const made = readEnv();
    expect(made).toContain("JWT_SECRET=a-secret-of-the-operator-that-must-stay\nPOSTGRES_PASSWORD=chosen\n");
    for (const name of ["OPERATOR_KEY", "REDIS_PASSWORD", "GRAFANA_PASSWORD", "METRICS_TOKEN", "PROCESSING_SECRET"])
      expect(made).toMatch(new RegExp(`^${name}=[0-9a-f]{64}$`, "m"));
    expect(statSync(envFile()).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, "deploy", "data", "secrets")).mode & 0o777).toBe(0o700);
    expect(deploy("restart").status).toBe(0);
    expect(readEnv()).toBe(made);
  });

  it("runs alone", async () => {
    const other = spawn("flock", [join(folder, "deploy"), "sh", "-c", "echo locked; exec cat"]);
    await once(other.stdout, "data");
    const { status, stderr } = deploy();
    const shown = deploy("status").stderr;
    other.stdin.end();
    await once(other, "close");
    expect([status, stderr]).toEqual([1, expect.stringContaining("another run of this script is at work")]);
    expect(shown).not.toContain("another run");
  });

  it("registers the first camera, and shows its secret once", () => {
    // Docker also takes quotes and lines of Windows.
    writeEnv("CAMERA_ID=\"ridge\"\nLOCATION_LAT='46.5'\r\n");
    const { stdout } = deploy();
    expect(stdout).toContain("CAMERA_ID=ridge\nDEVICE_SECRET=secret-of-the-camera\n");
    expect(stdout).toContain("LOCATION_LAT=46.5\n");
    expect(deploy().stdout).not.toContain("secret-of-the-camera");
  });

  it.each([
    ["a short JWT_SECRET", "JWT_SECRET=short\n", "JWT_SECRET in deploy/.env is too short"],
    [
      "a password that breaks a URL",
      "POSTGRES_PASSWORD=a/b@c\n",
      "POSTGRES_PASSWORD in deploy/.env becomes a part of a URL",
    ],
    ["a relative DATA_PATH", "DATA_PATH=data\n", "begin it with / or ./"],
  ])("explains in one line what is wrong with %s", (_title, line, message) => {
    writeEnv(line);
    const { status, stderr } = deploy();
    expect(status).toBe(1);
    expect(stderr).toContain(message);
    expect(stderr.trim().split("\n")).toHaveLength(1);
  });

  it("explains a taken port", async () => {
    const { createServer } = await import("node:net");
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as { port: number };
    writeEnv(`FRONTEND_PORT=${port}\n`);
    const { status, stderr } = deploy();
    server.close();
    expect(status).toBe(1);
    expect(stderr).toContain(`port ${port} is taken by another program`);
  });

  it("ends with 2 for a wrong command line", () => {
    for (const args of [["deplyo"], ["deploy", "now"], ["restore"], ["restore", "folder", "yes"]])
      expect([args, deploy(...args).status]).toEqual([args, 2]);
  });

  it("refuses a backup that is incomplete or was changed", () => {
    expect(deploy("restore", folder).stderr).toContain("is not a complete backup");
    writeFileSync(join(folder, "redis.rdb"), "REDIS");
    const sums = execFileSync("sha256sum", ["redis.rdb"], { cwd: folder });
    writeFileSync(join(folder, "SHA256SUMS"), sums);
    writeFileSync(join(folder, "redis.rdb"), "REDIS, changed");
    expect(deploy("restore", folder).stderr).toContain("has changed since it was made");
  });

  it("replaces existing data by a backup only after --yes", () => {
    writeFileSync(join(folder, "redis.rdb"), "REDIS");
    writeFileSync(join(folder, "SHA256SUMS"), execFileSync("sha256sum", ["redis.rdb"], { cwd: folder }));
    expect(deploy("restore", folder).stderr).toContain("this replaces all data");
  });

  it("restores Redis, and begins a new epoch of its journal by the command, without the password in an argument", () => {
    writeEnv(`REDIS_PASSWORD=${"p".repeat(32)}\nREDIS_PREFIX=valley\n`);
    const backup = join(folder, "backup");
    mkdirSync(join(backup, "films"), { recursive: true });
    for (const name of ["redis.rdb", "postgres.dump", "env"]) writeFileSync(join(backup, name), "REDIS");
    execFileSync("tar", ["-cf", "files.tar", "films"], { cwd: backup });
    writeFileSync(
      join(backup, "SHA256SUMS"),
      execFileSync("sha256sum", ["redis.rdb", "postgres.dump", "env", "files.tar"], { cwd: backup }),
    );
    mkdirSync(join(folder, "deploy", "data", "secrets"), { recursive: true });
    mkdirSync(join(folder, "deploy", "data", "films"));
    const { status, stderr } = deploy("restore", backup, "--yes");
    expect([status, stderr]).toEqual([0, ""]);
    const calls = readFileSync(join(folder, "calls"), "utf8");
    const order = [
      "-v skylapse_redis_data:/data",
      "skylapse new-epoch",
      "pg_restore",
      "up -d --no-build redis postgres",
    ];
    const places = order.map((part) => calls.indexOf(part));
    expect(places).toEqual(places.toSorted((a, b) => a - b));
    expect(places).not.toContain(-1);
    expect(calls).toMatch(/run .*--network skylapse_back -e REDIS_URL -e REDIS_PREFIX .*skylapse new-epoch/);
    expect(calls).not.toContain("pppp");
  });
});
