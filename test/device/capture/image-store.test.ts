import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ulid } from "ulid";
import { expect, onTestFinished, test } from "vitest";
import { captureFailedSchema } from "../../../contract/events.ts";
import { ImageStore, type ImageStoreOptions, type Sidecar } from "../../../device/capture/image-store.ts";
import { bundled } from "../../support/bundled.ts";
import { cameraAt, envelopeOf, eventTopic, openBroker, plainCamera, silent, zermatt } from "../support/cameras.ts";
import { temporaryFolder } from "../support/programs.ts";

const PROGRAM = bundled("test/support/picture-program.js");
const RUNS = 5;

function sidecarAt(at: Date): Sidecar {
  return {
    capture: ulid(at.getTime()).toLowerCase(),
    camera: "north",
    taken_at: at.toISOString(),
    width: 64,
    height: 48,
    size_bytes: 7,
    settings: { iso: 100 },
    model: "Test camera",
    location: zermatt,
    clock_set: true,
  };
}

async function openStore(dataPath: string, options: Partial<ImageStoreOptions> = {}): Promise<ImageStore> {
  const store = new ImageStore({ dataPath, logger: silent, ...options });
  await store.prepare();
  return store;
}

/** Saves a picture for each moment. @returns their ids in that order */
async function save(store: ImageStore, ...moments: string[]): Promise<string[]> {
  const captures: string[] = [];
  for (const moment of moments) {
    const sidecar = sidecarAt(new Date(moment));
    captures.push(sidecar.capture);
    await store.save(Buffer.from("picture"), sidecar);
  }
  await store.idle();
  return captures;
}

/** The paths of the files below `raw`. */
function files(dataPath: string): string[] {
  return readdirSync(join(dataPath, "raw"), { recursive: true, encoding: "utf8", withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(join(dataPath, "raw").length + 1))
    .sort();
}

const pictures = (dataPath: string): string[] => files(dataPath).filter((name) => name.endsWith(".jpg"));
const captureIn = (file: string): string => basename(file).slice(7, -4);

test("the image store saves a picture by its UTC date and time, with a sidecar", async () => {
  const dataPath = temporaryFolder();
  const store = await openStore(dataPath);
  const sidecar = sidecarAt(new Date("2026-03-01T06:07:08.9Z"));
  await store.save(Buffer.from("picture"), sidecar);
  const name = `2026/03/01/060708-${sidecar.capture}`;
  expect(files(dataPath)).toEqual([`${name}.jpg`, `${name}.json`]);
  expect(readFileSync(join(dataPath, "raw", `${name}.jpg`), "utf8")).toBe("picture");
  expect(JSON.parse(readFileSync(join(dataPath, "raw", `${name}.json`), "utf8"))).toEqual(sidecar);
});

test("the image store finds a picture by its id, and the newest without an id", async () => {
  const dataPath = temporaryFolder();
  const store = await openStore(dataPath);
  expect(await store.find()).toBeUndefined();
  const [first, second, third] = await save(
    store,
    "2025-12-31T23:59:59Z",
    "2026-03-01T06:00:00Z",
    "2026-03-01T09:00:00Z",
  );
  expect(await store.find(first)).toEqual({ capture: first, jpeg: Buffer.from("picture") });
  expect((await store.find(second))?.capture).toBe(second);
  expect((await store.find())?.capture).toBe(third);
  expect(await store.find(ulid().toLowerCase())).toBeUndefined();
  expect(await store.find("no-time-in-it")).toBeUndefined();
});

/** The program that saves pictures, and the program's reports so far. */
function startProgram(dataPath: string) {
  const child = spawn(process.execPath, [PROGRAM, dataPath], { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  const reported = { saved: [] as string[], refused: [] as string[] };
  let rest = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    // The last line may be incomplete.
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line.startsWith("!")) reported.refused.push(line.slice(1));
      else reported.saved.push(line);
    }
  });
  return { child, reported };
}

function expectWhole(dataPath: string, file: string): void {
  const path = join(dataPath, "raw", file);
  const { size_bytes, capture }: Sidecar = JSON.parse(readFileSync(path.replace(/jpg$/, "json"), "utf8"));
  expect(capture).toBe(captureIn(file));
  expect(readFileSync(path).equals(Buffer.alloc(size_bytes, capture))).toBe(true);
}

test(`the image store holds only complete pictures with their sidecars after the program was killed ${RUNS} times with kill -9`, {
  timeout: 30_000 + RUNS * 5000,
}, async () => {
  const dataPath = temporaryFolder();
  const saved: string[] = [];
  for (let run = 1; run <= RUNS; run++) {
    const { child, reported } = startProgram(dataPath);
    const enough = 1 + Math.floor(Math.random() * 15);
    await expect.poll(() => reported.saved.length, { interval: 1 }).toBeGreaterThanOrEqual(enough);
    child.kill("SIGKILL");
    await once(child, "close");
    saved.push(...reported.saved);
    for (const file of pictures(dataPath).filter((name) => !name.startsWith(".incoming"))) expectWhole(dataPath, file);
  }
  await openStore(dataPath);
  const there = new Set(pictures(dataPath).map(captureIn));
  expect(saved.filter((capture) => !there.has(capture))).toEqual([]);
  expect(files(dataPath).filter((name) => name.startsWith(".incoming"))).toEqual([]);
  // In each run, one picture may be saved but not reported. Sidecars without a picture are not counted.
  expect(there.size).toBeLessThanOrEqual(saved.length + RUNS);
  expect(files(dataPath)).toHaveLength(2 * there.size);
});

test("the image store rejects a picture on a full disk, leaves no part of the picture, and saves the next picture when there is space", async () => {
  const dataPath = temporaryFolder();
  const { child, reported } = startProgram(dataPath);
  const count = () => reported.saved.length;
  await expect.poll(count).toBeGreaterThan(0);
  // The limit is reached within a picture, because a sidecar is smaller.
  limitFiles(child.pid, 100_000);
  await expect.poll(() => reported.refused.length).toBeGreaterThan(2);
  limitFiles(child.pid, undefined);
  const before = count();
  await expect.poll(count).toBeGreaterThan(before + 1);
  child.kill("SIGKILL");
  await once(child, "close");
  await openStore(dataPath);
  const there = pictures(dataPath);
  for (const file of there) expectWhole(dataPath, file);
  expect(there.map(captureIn).filter((capture) => reported.refused.includes(capture))).toEqual([]);
  expect(files(dataPath)).toHaveLength(2 * there.length);
});

test("the image store reserves some space, so that a disk full of pictures can still be used", async () => {
  const dataPath = temporaryFolder();
  const disk = { free: 16 * 1024 * 1024 + 7, total: 32e9 };
  const store = await openStore(dataPath, { diskSpace: async () => disk });
  await save(store, "2026-03-01T06:00:00Z");
  disk.free -= 7;
  await expect(save(store, "2026-03-01T06:01:00Z")).rejects.toThrow(
    "the disk is full: 16384 kB are reserved for other files than pictures",
  );
  disk.total = 32e6;
  await save(store, "2026-03-01T06:02:00Z");
  expect(pictures(dataPath).map((file) => basename(file).slice(0, 6))).toEqual(["060000", "060200"]);
});

function limitFiles(pid: number | undefined, bytes: number | undefined): void {
  execFileSync("prlimit", ["--pid", String(pid), `--fsize=${bytes ?? "unlimited"}:unlimited`]);
}

test("the image store moves a picture to its place after a power cut that followed the move of its sidecar", async () => {
  const dataPath = temporaryFolder();
  const [capture = ""] = await save(await openStore(dataPath), "2026-03-01T06:00:00Z");
  const image = `060000-${capture}.jpg`;
  const raw = join(dataPath, "raw");
  renameSync(join(raw, "2026/03/01", image), join(raw, ".incoming", image));
  writeFileSync(join(raw, ".incoming", "070000-half.json"), "{");
  writeFileSync(join(raw, ".incoming", "080000-half.json"), "{}");
  writeFileSync(join(raw, ".incoming", "080000-half.jpg"), "half a pic");
  const store = await openStore(dataPath);
  expect((await store.find(capture))?.jpeg.toString()).toBe("picture");
  expect(files(dataPath)).toHaveLength(2);
});

test("the image store finishes the removal of pictures that a power cut interrupted", async () => {
  const dataPath = temporaryFolder();
  const store = await openStore(dataPath);
  await save(store, "2026-03-01T06:00:00Z", "2026-03-02T06:00:00Z", "2026-03-02T07:00:00Z");
  const [first, second] = pictures(dataPath).map((name) => join(dataPath, "raw", name));
  for (const picture of [first, second]) renameSync(picture ?? "", `${dataPath}/away.jpg`);
  await openStore(dataPath);
  expect(files(dataPath)).toHaveLength(2);
  expect(existsSync(join(dataPath, "raw/2026/03/01"))).toBe(false);
});

/** A store on a disk with room for `room` pictures. Each picture takes ten percent of the disk. */
async function smallDisk(room: number, minFreePercent: number) {
  const dataPath = temporaryFolder();
  const disk = { room };
  // There is always space for the next picture.
  const diskSpaceNow = async () => ({
    free: Math.max(20e6, 1e9 * (disk.room - pictures(dataPath).length)),
    total: 10e9,
  });
  return { dataPath, disk, store: await openStore(dataPath, { minFreePercent, diskSpace: diskSpaceNow }) };
}

test("the image store also removes the oldest pictures when the configured free space is less than the reserved space", async () => {
  const dataPath = temporaryFolder();
  // One percent is 10 MB, and a picture takes 1 MB.
  const diskSpace = async () => ({ free: 20e6 - 1e6 * pictures(dataPath).length, total: 1e9 });
  const store = await openStore(dataPath, { minFreePercent: 1, diskSpace });
  const captures: string[] = [];
  for (let minute = 0; minute < 8; minute++) captures.push(...(await save(store, `2026-03-01T06:0${minute}:00Z`)));
  const left = pictures(dataPath).map(captureIn);
  expect(left.length).toBeGreaterThan(0);
  expect(left).toEqual(captures.slice(-left.length));
});

test("the image store removes the oldest pictures with sidecars and empty folders when too little space is free", async () => {
  const { dataPath, disk, store } = await smallDisk(30, 20);
  const days = Array.from({ length: 20 }, (_, index) => `2026-03-${String(index + 1).padStart(2, "0")}T06:00:00Z`);
  const captures = await save(store, ...days);
  expect(pictures(dataPath)).toHaveLength(20);
  disk.room = 12;
  captures.push(...(await save(store, "2026-03-21T06:00:00Z")));
  expect(pictures(dataPath).map(captureIn)).toEqual(captures.slice(-pictures(dataPath).length));
  expect(pictures(dataPath).length).toBeLessThanOrEqual(10);
  expect(files(dataPath)).toHaveLength(2 * pictures(dataPath).length);
  expect(readdirSync(join(dataPath, "raw/2026/03"))).toHaveLength(pictures(dataPath).length);
});

test("the image store treats the last saved picture as the newest, even after the clock was set back", async () => {
  const dataPath = temporaryFolder();
  const store = await openStore(dataPath);
  const [, behind] = await save(store, "2026-11-29T12:00:00Z", "2026-11-15T12:00:00Z");
  expect((await store.find())?.capture).toBe(behind);
  await save(store, "2026-11-16T12:00:00Z");
  const removed = pictures(dataPath).find((name) => name.startsWith("2026/11/16")) ?? expect.fail("no such picture");
  renameSync(join(dataPath, "raw", removed), join(dataPath, "elsewhere.jpg"));
  expect((await store.find())?.capture).toBe(captureIn(pictures(dataPath).at(-1) ?? ""));
});

test("the image store never removes the newest picture, whatever fills the disk, even if the clock is behind", async () => {
  const { dataPath, store } = await smallDisk(-100, 20);
  const captures = await save(store, "2026-03-01T06:00:00Z", "2026-03-02T06:00:00Z");
  expect(pictures(dataPath).map(captureIn)).toEqual(captures.slice(-1));
  const behind = await save(store, "2024-01-01T00:00:00Z");
  expect(pictures(dataPath).map(captureIn)).toEqual(behind);
});

test("the image store removes the oldest pictures when a picture does not fit, so that there is room for the next", async () => {
  const { dataPath, disk, store } = await smallDisk(30, 20);
  const captures = await save(store, "2026-03-01T06:00:00Z", "2026-03-02T06:00:00Z", "2026-03-03T06:00:00Z");
  disk.room = 0;
  // A file takes the place of the folder for the next picture.
  writeFileSync(join(dataPath, "raw/2026/04"), "in the way");
  await expect(save(store, "2026-04-01T06:00:00Z")).rejects.toThrow(/EEXIST|ENOTDIR/);
  await store.idle();
  expect(pictures(dataPath).map(captureIn)).toEqual(captures.slice(-1));
});

test("the image store asks the system for the free space", async () => {
  const dataPath = temporaryFolder();
  const captures = await save(
    await openStore(dataPath, { minFreePercent: 0.000001 }),
    "2026-03-01T06:00:00Z",
    "2026-03-02T06:00:00Z",
  );
  expect(pictures(dataPath).map(captureIn)).toEqual(captures);
  // This minimum is never met, because no disk with files is completely free.
  captures.push(...(await save(await openStore(dataPath, { minFreePercent: 100 }), "2026-03-03T06:00:00Z")));
  expect(pictures(dataPath).map(captureIn)).toEqual(captures.slice(-1));
});

test("the agent reports a picture that cannot be saved as failed, and the next picture as completed", async () => {
  const broker = await openBroker();
  const dataPath = temporaryFolder();
  const agent = await cameraAt(broker, { camera: await plainCamera(), config: { dataPath, images: {} } });
  const year = join(dataPath, "raw", String(new Date().getUTCFullYear()));
  writeFileSync(year, "in the way");
  await expect(agent.captureNow()).rejects.toThrow(/^the picture could not be stored: /);
  const [failed] = await broker.until(() => {
    const messages = broker.on(eventTopic("capture.failed"));
    return messages.length === 1 && messages.map((message) => captureFailedSchema.parse(envelopeOf(message).data));
  });
  expect(failed).toMatchObject({ failures: 1, error: expect.stringMatching(/could not be stored: E/) });
  renameSync(year, join(dataPath, "out of the way"));
  mkdirSync(dirname(year), { recursive: true });
  const { capture } = await agent.captureNow();
  expect(pictures(dataPath).map(captureIn)).toEqual([capture]);
  await broker.until(() => broker.on(eventTopic("capture.completed")).length === 1);
});
