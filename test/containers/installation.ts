import { execFile, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

/** The folder of the project; this file is in `dist/test/containers`. */
export const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const PLACE = process.env.CONTAINERS_PATH ?? "/tmp/containers";
const CHECKOUT = join(PLACE, "checkout");
/** The folder `deploy` of a copy of the project, so that a real installation on this machine is left alone. */
export const DEPLOY = join(CHECKOUT, "deploy");
export const BACKUP = join(PLACE, "backup");
export const CAMERA = "ridge";
export const IMAGE = "localhost/skylapse-realtime:current";
export const FILMS_IMAGE = "localhost/skylapse-processing:current";
const PROJECT = "skylapse-test";

export const PORTS = {
  FRONTEND_PORT: "13000",
  WS_PORT: "18082",
  MQTT_PORT: "11883",
  MQTT_TLS_PORT: "18883",
  HTTP_PORT: "10080",
  HTTPS_PORT: "10443",
  PROMETHEUS_PORT: "19090",
  GRAFANA_PORT: "13001",
};
export const URL_OF_FRONTEND = `http://127.0.0.1:${PORTS.FRONTEND_PORT}`;

/** Settings of the copy's deploy/.env, besides the secrets that the script makes. */
const SETTINGS = {
  ...PORTS,
  CAMERA_ID: CAMERA,
  LOCATION_LAT: "46.55",
  LOCATION_LON: "7.98",
  TIMEZONE: "Europe/Zurich",
  MONITORING: "1",
  NODE_IMAGE: "localhost/stand-in/node",
  PROCESSING_BASE_IMAGE: "localhost/stand-in/python",
  REDIS_IMAGE: "localhost/stand-in/redis",
  POSTGRES_IMAGE: "localhost/stand-in/postgres",
  NGINX_IMAGE: "localhost/stand-in/nginx",
  CADDY_IMAGE: "localhost/stand-in/caddy",
  PROMETHEUS_IMAGE: "localhost/stand-in/prometheus",
  REDIS_EXPORTER_IMAGE: "localhost/stand-in/redis-exporter",
  GRAFANA_IMAGE: "localhost/stand-in/grafana",
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

export async function podman(...args: string[]): Promise<string> {
  return (await run("podman", args, { env })).stdout.trim();
}

/** The names of the containers of a service of the compose file. */
export async function containersOf(service: string): Promise<string[]> {
  const names = await podman(
    ...["ps", "-a", "--filter", `label=com.docker.compose.service=${service}`, "--format", "{{.Names}}"],
  );
  return names.split("\n").filter((name) => name !== "");
}

export async function firstOf(service: string): Promise<string> {
  const [name] = await containersOf(service);
  if (name === undefined) throw new Error(`there is no container of ${service}`);
  return name;
}

/** Makes the stand-ins for the base images that are missing. */
export async function makeBases(): Promise<string> {
  return (await run("bash", [join(ROOT, "test/containers/bases.sh")], { env })).stdout;
}

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

export const deploy = (...args: string[]) => script(["deploy-production.sh", ...args]);

/** An upgrade that fails: the script must go back to the previous image by itself. */
export const deployBrokenUpgrade = () => script(["deploy-production.sh", "upgrade"], 1, { HEALTH_TIMEOUT_S: "60" });

/** @returns the last line, which counts the checks */
export async function testDeployment(...groups: string[]): Promise<string> {
  // Allows a slow machine: these limits are about the speed of the machine, not about what the containers do.
  const limits = { LOAD_P99_MS: "30000", MAX_EVENT_LOOP_DELAY_MS: "5000", WAIT_MS: "60000" };
  const output = await script(["test-deployment.sh", "--compose", ...groups], 0, limits);
  return output.trim().split("\n").at(-1) ?? "";
}

function buildOptions(): string {
  const options = ["--isolation", "chroot", "--network", "host"];
  const secrets = { npmrc: join(process.env.HOME ?? "", ".npmrc"), ca: process.env.NODE_EXTRA_CA_CERTS ?? "" };
  for (const [id, path] of Object.entries(secrets))
    if (path !== "" && existsSync(path)) options.push("--secret", `id=${id},src=${path}`);
  return options.join(" ");
}

/** Removes what an earlier run left, and copies the project. */
export async function prepareCheckout(): Promise<void> {
  await tearDown();
  // If these tags stayed, `deploy` would start the image of an earlier run.
  for (const image of [IMAGE, FILMS_IMAGE, IMAGE.replace("current", "previous")])
    await podman("untag", image).catch(() => undefined);
  for (const folder of [CHECKOUT, BACKUP]) rmSync(folder, { recursive: true, force: true });
  mkdirSync(CHECKOUT, { recursive: true });
  const copy = `git ls-files -z | tar --null -T - -c | tar -x -C "$1"`;
  execFileSync("bash", ["-c", copy, "copy", CHECKOUT], { cwd: ROOT });
  writeSettings();
}

/** Adds settings to deploy/.env; the last value of a name counts. */
export function writeSettings(more: Record<string, string> = SETTINGS): void {
  const lines = Object.entries(more).map(([name, value]) => `${name}=${value}\n`);
  writeFileSync(join(DEPLOY, ".env"), lines.join(""), { mode: 0o600, flag: "a" });
}

/** Adds a line to the Dockerfile of the copy, so that the next build makes another image. */
export function changeDockerfile(line: string): void {
  writeFileSync(join(DEPLOY, "Dockerfile"), `\n${line}\n`, { flag: "a" });
}

/** Removes all containers and volumes, and the data of the copy. Images stay. */
export async function tearDown(): Promise<void> {
  const names = (await podman("ps", "-aq", "--filter", `label=com.docker.compose.project=${PROJECT}`)).split("\n");
  for (const name of names.filter(Boolean)) await podman("rm", "-f", "-t", "5", name);
  for (const volume of (await podman("volume", "ls", "-q")).split("\n"))
    if (volume.startsWith(`${PROJECT}_`)) await podman("volume", "rm", "-f", volume);
  rmSync(join(DEPLOY, "data"), { recursive: true, force: true });
  rmSync(join(DEPLOY, ".env"), { force: true });
}

/** Megabytes (10^6 bytes), as `podman images` counts. */
export async function sizeOf(image: string): Promise<number> {
  return Number(await podman("image", "inspect", "-f", "{{.Size}}", image)) / 1e6;
}

/** The id of the image of the first server. */
export async function runningImage(): Promise<string> {
  return podman("inspect", "-f", "{{.Image}}", await firstOf("realtime-backend"));
}

/** A token, minted with the operator key of deploy/.env. */
export async function mint(...permissions: string[]): Promise<string> {
  const key = /^OPERATOR_KEY=(.*)$/m.exec(readFileSync(join(DEPLOY, ".env"), "utf8"))?.[1];
  const response = await fetch(`${URL_OF_FRONTEND}/auth/token`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}` },
    body: JSON.stringify({ user_id: "container-test", permissions }),
  });
  if (!response.ok) throw new Error(`POST /auth/token answers ${response.status}`);
  return ((await response.json()) as { token: string }).token;
}
