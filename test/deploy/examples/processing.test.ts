import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { connectAsync } from "mqtt";
import sharp from "sharp";
import { ulid } from "ulid";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { WebSocket } from "ws";
import { type Job, jobSchema, linkSchema } from "../../../contract/events.ts";
import { createClient } from "../../../dashboard-client/index.ts";
import { JWT_SECRET, signToken } from "../../support/dashboard.ts";
import { freePort } from "../../support/ports.ts";
import { PROCESSING, type ProcessingService, startProcessingService } from "../../support/processing-service.ts";
import { PYTHON } from "../../support/programs.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../../support/skylapse.ts";

const run = promisify(execFile);
const OPERATOR_KEY = "the-operator-key-of-this-test-long-enough";
const SERVICE_SECRET = "the-secret-of-all-devices-of-this-test";
const PASSWORD = "correct horse battery";
const PICTURES = 12;
const FIRST_AT = Date.now() - 3_600_000;
const RANGE = {
  from: new Date(FIRST_AT).toISOString(),
  to: new Date(FIRST_AT + (PICTURES - 1) * 60_000).toISOString(),
};

const folder = makeDataPath();
/** While this file exists, `SLOW_FFMPEG` waits before it starts ffmpeg. */
const gate = join(folder, "gate");
/** Holds the process id of the waiting ffmpeg. */
const ffmpegPid = join(folder, "ffmpeg.pid");
const SLOW_FFMPEG = join(folder, "slow-ffmpeg");

interface Seen {
  event: string;
  data: unknown;
}

let ports: { WS_PORT: string; MQTT_PORT: string };
let skylapse: Skylapse;
const services: ProcessingService[] = [];
/** The events of the channel `jobs`, each once and in order. */
const seen: Seen[] = [];
const client = () =>
  createClient({
    url: skylapse.socket,
    getToken: async () => signToken("alice", ["jobs:read"]),
    WebSocket,
    backoff: { minDelayMs: 20, maxDelayMs: 200 },
  });
let dashboard: ReturnType<typeof client>;

const start = () => startSkylapse({ dataPath: join(folder, "server"), env: { ...ports, JWT_SECRET, OPERATOR_KEY } });

async function post(path: string, body: object = {}) {
  const headers = { authorization: `Bearer ${OPERATOR_KEY}` };
  const response = await fetch(skylapse.http + path, { method: "POST", headers, body: JSON.stringify(body) });
  const answer = await response.text();
  expect(response.ok, answer).toBe(true);
  return JSON.parse(answer || "{}");
}

/** Requests a film. @param options.token default: one that may see the pictures of the camera `north` */
function watch(url = "", { token = signToken("alice", ["camera:north:read"]), range = "bytes=0-" } = {}) {
  return fetch(url, { headers: { authorization: `Bearer ${token}`, range } });
}

beforeAll(async () => {
  writeFileSync(
    SLOW_FFMPEG,
    `#!/bin/sh\necho $$ > ${ffmpegPid}\nwhile [ -e ${gate} ]; do sleep 0.05; done\nexec ffmpeg "$@"\n`,
    { mode: 0o755 },
  );
  ports = { WS_PORT: String(await freePort()), MQTT_PORT: String(await freePort()) };
  skylapse = await start();
  await post("/devices", { id: "north", secret: SERVICE_SECRET });
  await post("/devices", { id: "films", kind: "processing", secret: SERVICE_SECRET });
  await post("/users", { user_id: "films", password: PASSWORD, permissions: ["camera:north:read"] });
  const camera = await connectAsync(skylapse.mqtt, { username: "north", password: SERVICE_SECRET });
  for (let number = 0; number < PICTURES; number++) {
    const background = { r: number * 20, g: 80, b: 160 };
    // The width of a film must be even, so this odd width also tests the conversion.
    const jpeg = await sharp({ create: { width: 321, height: 240, channels: 3, background } })
      .jpeg()
      .toBuffer();
    const capture = ulid(FIRST_AT + number * 60_000).toLowerCase();
    await camera.publishAsync(`skylapse/v1/cameras/north/previews/${capture}`, jpeg, { qos: 1 });
  }
  await camera.endAsync();
  dashboard = client();
  const live = new Promise<void>((resolve) => {
    dashboard.subscribe("jobs", {
      onState: ({ status }) => status === "live" && resolve(),
      onEvent: ({ event, data, snapshot }) => snapshot === true || seen.push({ event, data }),
    });
  });
  dashboard.connect();
  await live;
});

afterEach(async () => {
  rmSync(gate, { force: true });
  for (const service of services.splice(0)) await service.end("SIGKILL");
});

afterAll(async () => {
  dashboard?.close();
  await skylapse?.end();
  removeDataPath(folder);
});

async function startService(env: Record<string, string> = {}): Promise<ProcessingService> {
  const service = await startProcessingService({
    ...{ SERVICE_ID: "films", SERVICE_SECRET, MQTT_URL: skylapse.mqtt, SKYLAPSE_URL: skylapse.http },
    ...{ SKYLAPSE_USER: "films", SKYLAPSE_PASSWORD: PASSWORD },
    ...{ DATA_PATH: join(folder, "service"), FFMPEG: SLOW_FFMPEG },
    ...env,
  });
  services.push(service);
  return service;
}

/** Requests a film over HTTP, with the program of the example. */
async function request(data: object): Promise<void> {
  await run(
    PYTHON,
    ["-m", "skylapse_processing.broadcast", "--channel", "jobs", "job.requested", JSON.stringify(data)],
    {
      cwd: PROCESSING,
      env: {
        PYTHONDONTWRITEBYTECODE: "1",
        SKYLAPSE_URL: skylapse.http,
        SKYLAPSE_TOKEN: signToken("bob", ["broadcast:write"]),
      },
    },
  );
}

function reportsOf(job: string): Job[] {
  return seen
    .filter(({ event }) => event.startsWith("job.") && event !== "job.requested")
    .map(({ event, data }) => {
      const report = jobSchema.parse(data);
      const isEnd = report.status === "completed" || report.status === "failed";
      expect(event).toBe(isEnd ? `job.${report.status}` : "job.progress");
      return report;
    })
    .filter((report) => report.job === job);
}

async function endOf(job: string): Promise<Job> {
  await expect.poll(() => reportsOf(job).at(-1)?.status, { interval: 20 }).toMatch(/completed|failed/);
  return reportsOf(job).at(-1) as Job;
}

/** Expects no report twice: no two reports are equal, and the progress never falls. */
function expectInOrder(reports: Job[]): void {
  expect(new Set(reports.map(({ status, progress }) => `${status} ${progress}`)).size).toBe(reports.length);
  const progress = reports.map((report) => report.progress);
  expect(progress).toEqual(progress.toSorted((a, b) => a - b));
}

it("makes a film of a requested time range, reports its progress in order, and serves the film by HTTP range requests", async () => {
  const service = await startService();
  await request({ job: "day-1", camera: "north", ...RANGE, fps: 5 });
  const end = await endOf("day-1");
  expect(end).toMatchObject({ status: "completed", progress: 100, camera: "north", outputs: ["1080p"] });
  const reports = reportsOf("day-1");
  expectInOrder(reports);
  expect(reports[0]).toMatchObject({ status: "queued", progress: 0 });
  expect(reports[1]).toMatchObject({ status: "processing", progress: 0 });
  expect(reports.length).toBeGreaterThan(5);

  const film = end.films?.[0];
  const url = film?.url ?? "";
  expect(film).toMatchObject({ output: "1080p", width: 320, height: 240, frames: PICTURES, duration_s: 2.4 });
  // A film is for those who may see the pictures of its camera.
  expect((await fetch(url)).status).toBe(401);
  expect((await watch(url, { token: "no token" })).status).toBe(401);
  expect((await watch(url, { token: signToken("mallory", ["camera:south:read"]) })).status).toBe(403);
  const response = await watch(url);
  expect(response.headers.get("content-type")).toBe("video/mp4");
  const bytes = Buffer.from(await response.arrayBuffer());
  expect(bytes.length).toBe(film?.size_bytes);
  const file = join(folder, "film.mp4");
  writeFileSync(file, bytes);
  const probe = ["-v", "error", "-count_frames", "-show_entries", "stream:format", "-of", "json", file];
  const { streams, format } = JSON.parse((await run("ffprobe", probe)).stdout);
  expect(streams).toHaveLength(1);
  expect(streams[0]).toMatchObject({
    ...{ codec_name: "h264", pix_fmt: "yuv420p", width: 320, height: 240 },
    ...{ nb_read_frames: String(PICTURES), r_frame_rate: "5/1" },
  });
  expect(Number(format.duration)).toBeCloseTo(2.4, 2);
  // A browser can begin before it has the whole file.
  expect(bytes.indexOf("moov")).toBeLessThan(bytes.indexOf("mdat"));

  const part = async (range: string) => {
    const answer = await watch(url, { range });
    return [answer.status, answer.headers.get("content-range"), Buffer.from(await answer.arrayBuffer())] as const;
  };
  const total = bytes.length;
  expect(await part("bytes=10-19")).toEqual([206, `bytes 10-19/${total}`, bytes.subarray(10, 20)]);
  expect(await part("bytes=-5")).toEqual([206, `bytes ${total - 5}-${total - 1}/${total}`, bytes.subarray(-5)]);
  expect((await part(`bytes=${total}-`))[0]).toBe(416);
  // A browser that plays a film sends its token in the address.
  const name = url.split("/").at(-1);
  const link = await post(`/cameras/north/films/${name}/link`);
  const shown = await fetch(`${url}?token=${link.token}`);
  expect([shown.status, shown.headers.get("content-disposition")]).toEqual([200, null]);
  const saved = await fetch(`${url}?token=${link.token}&download=1`);
  expect(saved.headers.get("content-disposition")).toBe(`attachment; filename="${name}"`);
  expect((await fetch(`${url.replace(/-\w+\.mp4/, "-other.mp4")}?token=${link.token}`)).status).toBe(403);
  const base = new URL(url).origin;
  for (const path of ["/films/..%2fservice.sqlite3", "/films/%2e%2e/service.sqlite3", "/films/", "/films", "/x"])
    expect((await fetch(base + path)).status, path).toBe(404);
  // fetch() would resolve `..` before sending the path; curl sends the path unchanged.
  const curl = await run("curl", ["-s", "--path-as-is", "-w", "%{http_code}", `${base}/films/../service.sqlite3`]);
  expect(curl.stdout).toMatch(/404$/);

  // Repeats the request. Then requests a job without pictures, a job of another service, and a job without a camera.
  await request({ job: "day-1", camera: "north", ...RANGE });
  const past = { from: "2020-01-01T00:00:00Z", to: "2020-01-02T00:00:00Z" };
  await request({ job: "past", service: "films", camera: "north", ...past });
  await request({ job: "other", service: "stacker", camera: "north", ...past });
  await request({ job: "bad" });
  expect((await endOf("past")).error).toMatch(/^there is no picture of the camera north between 2020-01-01T00:00:00/);
  await expect.poll(() => seen.filter(({ event }) => event === "error.occurred")).toHaveLength(1);
  expect(seen.find(({ event }) => event === "error.occurred")?.data).toEqual({
    source: "job.requested",
    error: "`camera` must be an id: 1 to 63 of a-z, 0-9 and '-'",
  });
  expect(reportsOf("day-1")).toEqual(reports);
  expect(reportsOf("other")).toEqual([]);

  expect(await service.end("SIGTERM")).toBe(0);
  const links = () =>
    seen.filter(({ event }) => event === "service.link").map(({ data }) => linkSchema.parse(data).status);
  await expect.poll(() => links().at(-1)).toBe("offline");
  expect(links()).toEqual(["online", "offline"]);
});

it("reports a job as failed, with a sentence for people, if ffmpeg is missing or the disk is full", async () => {
  const service = await startService({ FFMPEG: "/nowhere/ffmpeg" });
  await request({ job: "no-ffmpeg", camera: "north", ...RANGE });
  expect(await endOf("no-ffmpeg")).toMatchObject({
    status: "failed",
    error: expect.stringMatching(/^ffmpeg was not found as `\/nowhere\/ffmpeg`: install it .*apt install ffmpeg/),
  });
  await service.end("SIGTERM");
  // The request waits at the server while the service is away.
  await request({ job: "full-disk", camera: "north", ...RANGE });
  await startService({ MIN_FREE_BYTES: "100000000000000" });
  expect((await endOf("full-disk")).error).toMatch(/^the disk of the service is full: \d+ MiB are free\. Free some/);
});

it("loses and repeats no report when the server is killed during a job, and then the service before the server is back", async () => {
  writeFileSync(gate, "");
  const service = await startService();
  await request({ job: "server-killed", camera: "north", ...RANGE });
  await expect.poll(() => reportsOf("server-killed").at(-1)?.progress, { interval: 20 }).toBe(40);
  // A client that uses the client id of the service ends the connection of the service, and the service reconnects.
  const { mqtt } = skylapse;
  const takeOver = { clientId: "service-films", username: "films", password: SERVICE_SECRET, clean: false };
  await (await connectAsync(mqtt, { ...takeOver, reconnectPeriod: 0 })).endAsync();
  await expect.poll(() => service.logged("connected to the server").length, { interval: 20 }).toBe(2);
  await skylapse.end("SIGKILL");
  rmSync(gate);
  // The job ends while there is no server. Its last reports are only in the outbox.
  await expect.poll(() => service.logged("job completed").length, { interval: 20 }).toBe(1);
  // Without a server, nobody may watch a film.
  const films = service.logged("job completed")[0]?.films as string[];
  expect((await watch(films[0])).status).toBe(503);
  await service.end("SIGKILL");
  const next = startService();
  skylapse = await start();
  await next;
  expect(await endOf("server-killed")).toMatchObject({ status: "completed", films: [{ frames: PICTURES }] });
  expectInOrder(reportsOf("server-killed"));
  expect(reportsOf("server-killed").filter(({ status }) => status === "completed")).toHaveLength(1);
});

it("does a job again after the service was killed, and ends the ffmpeg of the killed service", async () => {
  writeFileSync(gate, "");
  const killed = await startService();
  await request({ job: "service-killed", camera: "north", ...RANGE, outputs: ["1080p", "4k"] });
  await request({ job: "waiting", camera: "north", ...RANGE });
  await expect.poll(() => reportsOf("service-killed").at(-1)?.progress, { interval: 20 }).toBe(40);
  await expect.poll(() => reportsOf("waiting").at(-1)?.status, { interval: 20 }).toBe("queued");
  const pid = Number(readFileSync(ffmpegPid, "utf8"));
  await killed.end("SIGKILL");
  await expect.poll(() => isRunning(pid), { interval: 20 }).toBe(false);
  rmSync(gate);
  const service = await startService();
  expect((await endOf("service-killed")).films?.map(({ output, frames }) => [output, frames])).toEqual([
    ["1080p", PICTURES],
    ["4k", PICTURES],
  ]);
  expect(await endOf("waiting")).toMatchObject({ status: "completed" });
  const ends = reportsOf("service-killed").filter(({ status }) => status === "completed" || status === "failed");
  expect(ends).toHaveLength(1);
  // The jobs are done in the order of their requests.
  expect(service.logged("job begun").map(({ job, attempt }) => [job, attempt])).toEqual([
    ["service-killed", 2],
    ["waiting", 1],
  ]);
});

it("uses full-size pictures from a folder, bounds its queue, and keeps a bounded number of films and ended jobs", async () => {
  const day = join(folder, "pictures", "north", "2026", "03", "01");
  mkdirSync(day, { recursive: true });
  const jpeg = await sharp({ create: { width: 2000, height: 1500, channels: 3, background: "#507090" } })
    .jpeg()
    .toBuffer();
  writeFileSync(join(day, `060000-${ulid(Date.parse("2026-03-01T06:00:00Z")).toLowerCase()}.jpg`), jpeg);
  writeFileSync(join(day, "060100-c2.jpg"), jpeg);
  writeFileSync(join(day, "060100-c2.json"), JSON.stringify({ taken_at: "2026-03-01T06:01:00.000Z" }));
  writeFileSync(join(day, "060200-c3.jpg"), "no picture");
  writeFileSync(join(day, "060200-c3.json"), JSON.stringify({ taken_at: "2026-03-01T06:02:00.000Z" }));
  writeFileSync(join(day, "070000-c4.jpg"), jpeg);
  writeFileSync(join(day, "070000-c4.json"), JSON.stringify({ taken_at: "2026-03-01T07:00:00.000Z" }));
  const hour = { camera: "north", from: "2026-03-01T06:00:00Z", to: "2026-03-01T06:59:59Z" };
  writeFileSync(gate, "");
  const service = await startService({
    PICTURES_PATH: join(folder, "pictures"),
    ...{ MAX_QUEUED_JOBS: "1", MAX_FILMS: "1", JOB_VISIBLE_SECONDS: "1" },
  });
  await request({ job: "hour", ...hour });
  await expect.poll(() => reportsOf("hour").at(-1)?.progress, { interval: 20 }).toBe(40);
  await request({ job: "next-hour", ...hour });
  await request({ job: "too-much", ...hour });
  expect((await endOf("too-much")).error).toMatch(/^the queue of the service is full: 1 job waits/);
  rmSync(gate);
  const [first] = (await endOf("hour")).films ?? [];
  // 2000 × 1500 fits into 1920 × 1080 as 1440 × 1080.
  expect(first).toMatchObject({ width: 1440, height: 1080, frames: 2 });
  const [second] = (await endOf("next-hour")).films ?? [];
  await expect.poll(() => service.logged("old film removed").length, { interval: 20 }).toBeGreaterThan(0);
  const statusOf = async (url = "") => (await watch(url)).status;
  await expect.poll(() => statusOf(first?.url), { interval: 20 }).toBe(404);
  expect(await statusOf(second?.url)).toBe(206);
  await expect.poll(() => seen.filter(({ event }) => event === "state.cleared").length).toBeGreaterThan(1);
});

/** Whether the process exists and is no zombie. */
function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}
