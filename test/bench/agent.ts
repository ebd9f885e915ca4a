import { join } from "node:path";
import { pino } from "pino";
import sharp from "sharp";
import { ulid } from "ulid";
import { topicTree } from "../../contract/topics.ts";
import { DeviceClock } from "../../device/host/clock.ts";
import { createPreview } from "../../device/link/previews.ts";
import { Sender } from "../../device/link/sender.ts";
import { openDiskOutbox } from "../../device/outbox/disk-outbox.ts";
import { freePort } from "../support/ports.ts";
import { installRpicamStill } from "../support/rpicam-still.ts";
import { type BenchOptions, onServer, type Row, type Sample, sleep } from "./row.ts";
import { BENCH_PREVIEW, CAMERA, startCamera } from "./servers/camera.ts";
import { temporaryFolder } from "./servers/leftovers.ts";
import { startSkylapse } from "./servers/skylapse.ts";
import { signToken } from "./servers/tokens.ts";

/** The size of the most common camera's pictures: 16 megapixels. */
const [WIDTH, HEIGHT] = [4656, 3496];
const CAPTURE_INTERVAL_S = 30;
const BACKLOG_HOURS = 24;
const BACKLOG_PICTURES = (BACKLOG_HOURS * 3600) / CAPTURE_INTERVAL_S;
/** One capture a day, so that the camera is idle during a measurement. */
const IDLE_INTERVAL_S = 86_400;
const DRAIN_TIMEOUT_S = 600;

function watchSeconds({ quick }: BenchOptions): number {
  return quick ? 30 : 60;
}

export const agent: Row = {
  name: "agent",
  title: "the camera program, connected",
  method: (options) =>
    `The real program with a stand-in for rpicam-still, a new process for each; watched for ${watchSeconds(options)} s after its first 10. ` +
    `At work: a picture of 16 megapixels every ${CAPTURE_INTERVAL_S} s, while the backlog is sent too.\n` +
    "The highest is that of the process' whole life, so with the reading of its outbox at its start.\n" +
    `Backlog: ${BACKLOG_HOURS} h of that, ${BACKLOG_PICTURES} pictures with their events and previews on its disk.`,
  figures: [
    { key: "idleCpuPercent", label: "idle: CPU of a core", unit: "%", target: { atMost: 1 } },
    { key: "idleRssMb", label: "idle: resident set", unit: "MB", target: { atMost: 120 } },
    { key: "workCpuPercent", label: "at work: CPU of a core", unit: "%" },
    { key: "workRssMb", label: "at work: resident set", unit: "MB" },
    { key: "workHighestMb", label: "at work: the highest", unit: "MB", target: { atMost: 120 } },
    { key: "backlogRssMb", label: "backlog, no link: resident set", unit: "MB" },
    { key: "backlogHighestMb", label: "backlog, no link: the highest", unit: "MB", target: { atMost: 120 } },
    { key: "drainHighestMb", label: "backlog being sent: the highest", unit: "MB", target: { atMost: 120 } },
    { key: "drainPerSecond", label: "backlog being sent: messages per second", unit: "/s", target: { atLeast: 500 } },
  ],
  sides: (options) => [{ name: "Skylapse", measure: () => measure(options) }],
};

function measure(options: BenchOptions): Promise<Sample> {
  const startServer = () => startSkylapse({ ...options, env: { RETENTION_EVENTS: "100000", RETENTION_HOURS: "48" } });
  return onServer(startServer, async ({ port, mqttPort }) => {
    const folder = temporaryFolder();
    try {
      installRpicamStill(folder.path, await picture());
      const common = { programs: folder.path, mqttPort };
      const place = (name: string) => ({ ...common, dataPath: join(folder.path, name) });
      const idle = await watch({ ...place("idle"), captureIntervalS: IDLE_INTERVAL_S }, options);
      const work = await watch({ ...place("work"), captureIntervalS: CAPTURE_INTERVAL_S }, options);
      const backlog = { ...place("backlog"), captureIntervalS: IDLE_INTERVAL_S };
      await fillOutbox(backlog.dataPath);
      const waiting = await watch({ ...backlog, mqttPort: await freePort() }, options);
      const drained = await drain({ ...backlog, captureIntervalS: CAPTURE_INTERVAL_S }, port);
      return {
        idleCpuPercent: idle.cpuPercent,
        idleRssMb: idle.rssMb,
        workCpuPercent: work.cpuPercent,
        workRssMb: work.rssMb,
        workHighestMb: work.highestMb,
        backlogRssMb: waiting.rssMb,
        backlogHighestMb: waiting.highestMb,
        ...drained,
      };
    } finally {
      folder.remove();
    }
  });
}

type CameraOptions = Parameters<typeof startCamera>[0];

async function watch(camera: CameraOptions, options: BenchOptions) {
  const program = await startCamera(camera);
  try {
    await sleep(10);
    const seconds = watchSeconds(options);
    const before = program.cpuSeconds();
    await sleep(seconds);
    const cpuPercent = ((program.cpuSeconds() - before) / seconds) * 100;
    const { rss, highest } = program.memory();
    return { cpuPercent, rssMb: rss / 1e6, highestMb: highest / 1e6 };
  } finally {
    await program.stop();
  }
}

/** The backlog of a camera after a day without a link. */
async function fillOutbox(dataPath: string): Promise<void> {
  const logger = pino({ level: "silent" });
  const clock = new DeviceClock();
  const outbox = await openDiskOutbox({ path: join(dataPath, `${CAMERA}.outbox`), clock, logger });
  const sender = new Sender({
    ...{ brokerUrl: "", tree: topicTree(), owner: { kind: "camera", id: CAMERA }, secret: "", outbox, logger },
    ...{ reconnect: { minMs: 0, maxMs: 0 }, now: () => clock.now() },
  });
  const preview = await createPreview(await picture(), BENCH_PREVIEW);
  const now = Date.now();
  for (let left = BACKLOG_PICTURES; left > 0; left--) {
    const at = new Date(now - left * CAPTURE_INTERVAL_S * 1000);
    const capture = ulid(at.getTime()).toLowerCase();
    const completed = { capture, width: WIDTH, height: HEIGHT, size_bytes: 6_000_000, settings: {} };
    for (const [event, data] of [
      ["capture.started", { capture }],
      ["capture.completed", completed],
    ] as const)
      await sender.event({ kind: "camera-event", camera: CAMERA, event }, event, data, { at });
    sender.preview({ kind: "camera-preview", camera: CAMERA, capture }, preview, at);
  }
  await outbox.close();
}

async function drain(camera: CameraOptions, port: number): Promise<Sample> {
  const program = await startCamera(camera);
  try {
    const from = performance.now();
    const token = signToken("viewer", ["dashboard:read"]);
    const arrived = async (): Promise<number> => {
      const headers = { authorization: `Bearer ${token}` };
      const response = await fetch(`http://127.0.0.1:${port}/cameras/${CAMERA}/previews?limit=1`, { headers });
      const { total }: { total: number } = await response.json();
      return total;
    };
    while ((await arrived()) < BACKLOG_PICTURES) {
      if (performance.now() - from > DRAIN_TIMEOUT_S * 1000) throw new Error("the backlog does not come to an end");
      await sleep(0.2);
    }
    const seconds = (performance.now() - from) / 1000;
    return { drainHighestMb: program.memory().highest / 1e6, drainPerSecond: (3 * BACKLOG_PICTURES) / seconds };
  } finally {
    await program.stop();
  }
}

async function picture(): Promise<Buffer> {
  const noise = { type: "gaussian", mean: 128, sigma: 20 } as const;
  return sharp({ create: { width: WIDTH, height: HEIGHT, channels: 3, background: "grey", noise } })
    .jpeg()
    .toBuffer();
}
