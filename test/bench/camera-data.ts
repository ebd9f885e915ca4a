import { join } from "node:path";
import sharp from "sharp";
import { DEFAULT_PREVIEW, DEFAULT_READINGS_INTERVAL_S } from "../../device/config.ts";
import { DEFAULT_KEEPALIVE_S } from "../../device/link/uplink.ts";
import { DEFAULT_READINGS_MAX_AGE_S } from "../../device/status/deadband-filter.ts";
import { installRpicamStill } from "../support/rpicam-still.ts";
import { type BenchOptions, onServer, type Row, type Sample, sleep } from "./row.ts";
import { CAMERA, startCamera } from "./servers/camera.ts";
import { temporaryFolder } from "./servers/leftovers.ts";
import { type MeteredLink, openMeteredLink, type Traffic } from "./servers/metered-link.ts";
import { startSkylapse } from "./servers/skylapse.ts";
import { signToken } from "./servers/tokens.ts";

const MONTH_S = 30 * 86_400;
const MONTHLY_PICTURES = MONTH_S / 300;
/** One capture a day, so that the camera is idle during a measurement. */
const IDLE_S = 86_400;
const PICTURE_INTERVAL_S = 2;
const COMMANDS = 20;

const watchSeconds = ({ quick }: BenchOptions): number => (quick ? 130 : 600);

export const cameraData: Row = {
  name: "camera-data",
  title: "what the link of a camera costs, with TCP/IP",
  method: (options) =>
    "The real program with its defaults and a stand-in for rpicam-still, through a proxy that counts: both ways, with 52 bytes of headers for " +
    "each segment and as many for its acknowledgement, without TLS.\n" +
    `Idle: watched for ${watchSeconds(options)} s with a ping every ${DEFAULT_KEEPALIVE_S} s and a look at the readings every ${DEFAULT_READINGS_INTERVAL_S} s, ` +
    `and what each reading costs that is said every ${DEFAULT_READINGS_MAX_AGE_S} s though nothing changed.\n` +
    "Month: idle, and 8,640 pictures (one every five minutes) with the largest previews of the default.",
  figures: [
    { key: "idleMb", label: "a month without pictures", unit: "MB" },
    { key: "monthMb", label: "a month with a picture every 5 minutes", unit: "MB", target: { atMost: 100 } },
    { key: "connectBytes", label: "coming up: connection, birth, all it has to say", unit: "B" },
    { key: "pictureBytes", label: "a picture without a preview", unit: "B" },
    { key: "previewBytes", label: `a preview of at most ${DEFAULT_PREVIEW.maxBytes} bytes`, unit: "B" },
    { key: "commandBytes", label: "a command with its answers", unit: "B" },
    { key: "duelConnections", label: "two devices with one id: connections in a minute", unit: "/min" },
    { key: "duelBytes", label: "two devices with one id: bytes in a minute", unit: "B/min" },
  ],
  sides: (options) => [{ name: "Skylapse", measure: () => measure(options) }],
};

function measure(options: BenchOptions): Promise<Sample> {
  return onServer(startSkylapse, async ({ port, mqttPort }) => {
    const folder = temporaryFolder();
    const link = await openMeteredLink(mqttPort);
    try {
      installRpicamStill(folder.path, await picture());
      const secret = await registerCamera(port);
      const place = (name: string) => ({
        ...{ programs: folder.path, mqttPort: link.port, dataPath: join(folder.path, name), captureIntervalS: IDLE_S },
        ...{ defaultPreviews: true, secret },
      });
      const seconds = watchSeconds(options);
      let connect: Traffic | undefined;
      const idle = await during(link, place("idle"), async () => {
        connect = link.traffic();
        await sleep(seconds);
      });
      // Once a second, the camera sends four readings.
      const chatty = { READINGS_INTERVAL_S: "1", READINGS_MAX_AGE_S: "1", PREVIEW_BUDGET: "off" };
      const readings = await during(link, { ...place("readings"), env: chatty }, () => sleep(30));
      const readingBytes = readings / 30;
      const taking = (name: string, budget: string) =>
        during(link, { ...place(name), captureIntervalS: PICTURE_INTERVAL_S, env: { PREVIEW_BUDGET: budget } }, () =>
          sleep(40),
        );
      const pictureBytes = (await taking("pictures", "off")) / (40 / PICTURE_INTERVAL_S);
      const previewBytes = (await taking("previews", "all")) / (40 / PICTURE_INTERVAL_S) - pictureBytes;
      const commands = await during(link, place("commands"), () => sendCommands(port));
      const duel = await measureDuel(link, place, options);
      const idleMb = ((idle / seconds) * MONTH_S + (readingBytes * MONTH_S) / DEFAULT_READINGS_MAX_AGE_S) / 1e6;
      return {
        idleMb,
        monthMb: idleMb + (MONTHLY_PICTURES * (pictureBytes + previewBytes)) / 1e6,
        connectBytes: connect?.billedBytes ?? 0,
        pictureBytes,
        previewBytes,
        commandBytes: commands / COMMANDS,
        ...duel,
      };
    } finally {
      await link.close();
      folder.remove();
    }
  });
}

type CameraOptions = Parameters<typeof startCamera>[0];

/**
 * Runs a camera. `work` begins 5 s after the camera's first attempt to connect.
 * @returns the bytes on the link during the work
 */
async function during(link: MeteredLink, camera: CameraOptions, work: () => Promise<unknown>): Promise<number> {
  const program = await startCamera(camera);
  try {
    await sleep(5);
    const before = link.traffic();
    await work();
    return link.traffic().billedBytes - before.billedBytes;
  } finally {
    await program.stop();
  }
}

const asOperator = () => ({
  authorization: `Bearer ${signToken("operator", ["admin"])}`,
  "content-type": "application/json",
});

/** @returns the camera's secret */
async function registerCamera(port: number): Promise<string> {
  const body = JSON.stringify({ id: CAMERA, kind: "camera" });
  const response = await fetch(`http://127.0.0.1:${port}/devices`, { method: "POST", headers: asOperator(), body });
  if (!response.ok) throw new Error(`no camera was registered: ${response.status} ${await response.text()}`);
  const { secret }: { secret: string } = await response.json();
  return secret;
}

async function sendCommands(port: number): Promise<void> {
  const headers = asOperator();
  const body = JSON.stringify({ name: "settings.set", args: { iso: 100 } });
  for (let count = 0; count < COMMANDS; count++) {
    const response = await fetch(`http://127.0.0.1:${port}/cameras/${CAMERA}/commands`, {
      method: "POST",
      headers,
      body,
    });
    if (!response.ok) throw new Error(`a command was answered with ${response.status}: ${await response.text()}`);
    await response.text();
    await sleep(0.5);
  }
}

/**
 * Two cameras with one client id. The measurement begins after two minutes, when the back-off of both cameras has
 * grown.
 */
async function measureDuel(
  link: MeteredLink,
  place: (name: string) => CameraOptions,
  { quick }: BenchOptions,
): Promise<Sample> {
  const minutes = quick ? 2 : 5;
  const first = await startCamera(place("first"));
  const second = await startCamera(place("second"));
  try {
    await sleep(quick ? 60 : 120);
    const before = link.traffic();
    await sleep(minutes * 60);
    const { connections, billedBytes } = link.traffic();
    return {
      duelConnections: (connections - before.connections) / minutes,
      duelBytes: (billedBytes - before.billedBytes) / minutes,
    };
  } finally {
    await Promise.all([first.stop(), second.stop()]);
  }
}

/** A picture of noise, whose preview is as large as allowed. */
async function picture(): Promise<Buffer> {
  const noise = { type: "gaussian", mean: 128, sigma: 40 } as const;
  return sharp({ create: { width: 1280, height: 960, channels: 3, background: "grey", noise } })
    .jpeg()
    .toBuffer();
}
