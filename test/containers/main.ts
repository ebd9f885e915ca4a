import { execFile, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type NumberedCamera, readNumbers, startNumberedCamera } from "./numbered-camera.ts";

/**
 * Builds the image, brings docker-compose.production.yml up with podman-compose, and tries on it what an operator does
 * and what breaks: `npm run test:containers`. The base images are stand-ins made by bases.sh from Debian's packages.
 * Works on a copy of the project, so that a real installation on this machine is left alone.
 */
const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const PLACE = process.env.CONTAINERS_PATH ?? "/tmp/containers";
const CHECKOUT = join(PLACE, "checkout");
const DEPLOY = join(CHECKOUT, "deploy");
const BACKUP = join(PLACE, "backup");
const PROJECT = "skylapse-test";
const CAMERA = "ridge";
const MAX_IMAGE_MB = 250;
const PORTS = {
  FRONTEND_PORT: "13000",
  WS_PORT: "18082",
  MQTT_PORT: "11883",
  MQTT_TLS_PORT: "18883",
  HTTP_PORT: "10080",
  HTTPS_PORT: "10443",
};
const URL_OF_FRONTEND = `http://127.0.0.1:${PORTS.FRONTEND_PORT}`;

/** Settings of the copy's deploy/.env, besides the secrets that the script makes. */
const SETTINGS = {
  ...PORTS,
  CAMERA_ID: CAMERA,
  LOCATION_LAT: "46.55",
  LOCATION_LON: "7.98",
  TIMEZONE: "Europe/Zurich",
  NODE_IMAGE: "localhost/stand-in/node",
  PROCESSING_BASE_IMAGE: "localhost/stand-in/python",
  REDIS_IMAGE: "localhost/stand-in/redis",
  POSTGRES_IMAGE: "localhost/stand-in/postgres",
  NGINX_IMAGE: "localhost/stand-in/nginx",
  CADDY_IMAGE: "localhost/stand-in/caddy",
};

const env = {
  ...process.env,
  PROJECT,
  ENGINE: "podman",
  CONTAINERS_PATH: PLACE,
  CONTAINERS_CONF: join(PLACE, "containers.conf"),
  CONTAINERS_STORAGE_CONF: join(PLACE, "storage.conf"),
  HEALTH_TIMEOUT_S: "600",
  BUILD_OPTIONS: buildOptions(),
};

const run = promisify(execFile);
const podman = async (...args: string[]) => (await run("podman", args, { env })).stdout.trim();
const containersOf = async (service: string) =>
  (await podman("ps", "-a", "--filter", `label=com.docker.compose.service=${service}`, "--format", "{{.Names}}"))
    .split("\n")
    .filter((name) => name !== "");
const firstOf = async (service: string) => (await containersOf(service))[0] ?? service;

/** Runs a script of the copy and prints its output. @throws {Error} the exit code differs */
async function script(args: readonly string[], wantedCode = 0, extra: Record<string, string> = {}): Promise<string> {
  const [name = "", ...rest] = args;
  const child = spawn("bash", [join(DEPLOY, name), ...rest], {
    env: { ...env, ...extra },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    process.stdout.write(text.replace(/^(DEVICE_SECRET=).*/m, "$1…"));
  });
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  if (code !== wantedCode) throw new Error(`${args.join(" ")} ended with ${code} instead of ${wantedCode}`);
  return output;
}

const deploy = (...args: string[]) => script(["deploy-production.sh", ...args]);
const testDeployment = (...args: string[]) =>
  // A machine for tests is slow: these two limits are about its speed, not about what the containers do.
  script(["test-deployment.sh", "--compose", ...args], 0, {
    LOAD_P99_MS: "30000",
    MAX_EVENT_LOOP_DELAY_MS: "5000",
    WAIT_MS: "60000",
  });

function buildOptions(): string {
  const options = ["--isolation", "chroot", "--network", "host"];
  const secrets = { npmrc: join(process.env.HOME ?? "", ".npmrc"), ca: process.env.NODE_EXTRA_CA_CERTS ?? "" };
  for (const [id, path] of Object.entries(secrets))
    if (path !== "" && existsSync(path)) options.push("--secret", `id=${id},src=${path}`);
  return options.join(" ");
}

function copyProject(): void {
  rmSync(CHECKOUT, { recursive: true, force: true });
  mkdirSync(CHECKOUT, { recursive: true });
  execFileSync("bash", ["-c", `git ls-files -z | tar --null -T - -c | tar -x -C "$1"`, "copy", CHECKOUT], {
    cwd: ROOT,
  });
}

function writeSettings(more: Record<string, string> = {}): void {
  const lines = Object.entries({ ...SETTINGS, ...more }).map(([name, value]) => `${name}=${value}\n`);
  writeFileSync(join(DEPLOY, ".env"), lines.join(""), { mode: 0o600, flag: "a" });
}

async function tearDown(): Promise<void> {
  const names = (await podman("ps", "-aq", "--filter", `label=com.docker.compose.project=${PROJECT}`)).split("\n");
  for (const name of names.filter(Boolean)) await podman("rm", "-f", "-t", "5", name);
  for (const volume of (await podman("volume", "ls", "-q")).split("\n"))
    if (volume.startsWith(`${PROJECT}_`)) await podman("volume", "rm", "-f", volume);
}

async function sizeOf(image: string): Promise<number> {
  return Number(await podman("image", "inspect", "-f", "{{.Size}}", image)) / 1e6;
}

async function operatorKey(): Promise<string> {
  return (await run("sed", ["-n", "s/^OPERATOR_KEY=//p", join(DEPLOY, ".env")])).stdout.trim();
}

async function step(title: string, work: () => Promise<unknown>): Promise<void> {
  const startedAt = performance.now();
  process.stdout.write(`\n=== ${title}\n`);
  await work();
  process.stdout.write(`=== done after ${((performance.now() - startedAt) / 1000).toFixed(0)} s\n`);
}

/** Every acknowledged event must be there exactly once. */
async function nothingLost(acknowledged: readonly number[]): Promise<void> {
  const counts = await readNumbers(URL_OF_FRONTEND, await operatorKey(), CAMERA);
  const missing = acknowledged.filter((number) => !counts.has(number));
  const twice = [...counts].filter(([, count]) => count > 1).map(([number]) => number);
  process.stdout.write(
    `${acknowledged.length} acknowledged events: ${missing.length} missing, ${twice.length} delivered twice\n`,
  );
  if (missing.length + twice.length > 0)
    throw new Error(`missing: ${missing.slice(0, 10)}; twice: ${twice.slice(0, 10)}`);
}

const after = async (camera: NumberedCamera, events: number) => camera.acknowledgedAfter(events, 300_000);

await step("stand-ins for the base images", async () => {
  process.stdout.write((await run("bash", [join(ROOT, "test/containers/bases.sh")], { env })).stdout);
});
await tearDown();
copyProject();
rmSync(BACKUP, { recursive: true, force: true });
writeSettings();

let secret = "";
let camera: NumberedCamera | undefined;
try {
  await step("deploy", async () => {
    secret = /^DEVICE_SECRET=(.+)$/m.exec(await deploy())?.[1] ?? "";
    if (secret === "") throw new Error("deploy registered no camera");
    const [image, base] = [
      await sizeOf("localhost/skylapse-realtime:current"),
      await sizeOf("localhost/stand-in/node"),
    ];
    process.stdout.write(`image: ${(image - base).toFixed(0)} MB beyond its base of ${base.toFixed(0)} MB\n`);
    if (image - base > MAX_IMAGE_MB) throw new Error(`the image is larger than ${MAX_IMAGE_MB} MB`);
    if (/DEVICE_SECRET/.test(await deploy())) throw new Error("a second deploy shows the secret again");
  });
  await step("test-deployment.sh", () => testDeployment());

  const running = startNumberedCamera({ id: CAMERA, secret, port: Number(PORTS.MQTT_TLS_PORT) });
  camera = running;
  await step("three nodes", async () => {
    await after(running, 20);
    writeSettings({ REPLICAS: "3" });
    await deploy("restart");
    const nodes = await containersOf("realtime-backend");
    if (nodes.length !== 3) throw new Error(`${nodes.length} nodes run instead of 3`);
    await testDeployment("health", "websocket", "network", "load");
    await after(running, 20);
  });
  await step("a node is killed", async () => {
    const [first = ""] = await containersOf("realtime-backend");
    await podman("kill", first);
    await after(running, 50);
    await podman("start", first);
    await deploy("status").catch(() => sleep(20_000).then(() => deploy("status")));
  });
  await step("Redis and PostgreSQL restart", async () => {
    await podman("restart", "-t", "20", await firstOf("redis"));
    await after(running, 50);
    await podman("restart", "-t", "20", await firstOf("postgres"));
    await after(running, 50);
    await nothingLost(running.acknowledged());
  });

  let before: readonly number[] = [];
  await step("back up, tear down, restore", async () => {
    before = [...running.acknowledged()];
    await deploy("backup", BACKUP);
    await running.pause();
    await tearDown();
    rmSync(join(DEPLOY, "data"), { recursive: true, force: true });
    rmSync(join(DEPLOY, ".env"));
    await deploy("restore", BACKUP);
    await nothingLost(before);
    running.resume();
    await after(running, 20);
  });
  await step("upgrade", async () => {
    await deploy("upgrade");
    await nothingLost(before);
  });
  await step("an upgrade that does not become healthy", async () => {
    writeFileSync(join(DEPLOY, "Dockerfile"), '\nCMD ["node", "-e", "console.log(process.exit(1))"]\n', { flag: "a" });
    await script(["deploy-production.sh", "upgrade"], 1, { HEALTH_TIMEOUT_S: "60" });
    await deploy("status");
    await after(running, 20);
    await nothingLost(before);
  });
  await step("test-deployment.sh at the end", () => testDeployment());
  process.stdout.write("\nall steps passed\n");
} finally {
  await camera?.end();
  if (process.env.KEEP_CONTAINERS === undefined) await tearDown();
}
process.exit(0);
