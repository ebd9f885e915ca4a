import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { cameraAboutSchema, captureCompletedSchema } from "../../../contract/events.ts";
import type { CameraDriver, FoundPicture, PictureSink } from "../../../device/cameras/camera-driver.ts";
import { FolderCamera, type FolderCameraOptions } from "../../../device/cameras/folder.ts";
import {
  cameraAt,
  cameraTopic,
  commandTopic,
  envelopeOf,
  eventTopic,
  openBroker,
  replyTopic,
} from "../support/cameras.ts";
import { jpegOf, jpegWithThumbnail, temporaryFolder } from "../support/programs.ts";

/** Short times, because most tests write their files at once. */
const quick = { settleMs: 40, giveUpMs: 300, scanIntervalMs: 50 };

class MemorySink implements PictureSink {
  readonly stored: FoundPicture[] = [];
  readonly failures: string[] = [];
  known = new Set<string>();
  /** If set, the reason why no picture can be stored. */
  failure: string | undefined;
  /** The time that the storage of a picture takes. */
  storeMs = 0;
  fullScans = 0;

  get names(): string[] {
    return this.stored.map(({ name }) => name.split("/").slice(0, -2).join("/"));
  }

  has(name: string): boolean {
    return this.known.has(name);
  }

  async store(picture: FoundPicture): Promise<void> {
    if (this.failure !== undefined) throw new Error(this.failure);
    if (this.storeMs > 0) await new Promise((resolve) => setTimeout(resolve, this.storeMs));
    this.stored.push(picture);
    this.known.add(picture.name);
  }

  async keepOnly(names: ReadonlySet<string>): Promise<void> {
    this.fullScans++;
    this.known = new Set([...this.known].filter((name) => names.has(name)));
  }

  fail(reason: string): void {
    this.failures.push(reason);
  }
}

function watch(path: string, sink: MemorySink, options: Partial<FolderCameraOptions> = {}): CameraDriver {
  const camera = new FolderCamera({ path, ...quick, ...options });
  onTestFinished(() => camera.stop?.());
  camera.watch?.(sink);
  return camera;
}

/** Resolves after `count` more full scans of a folder with a picture. */
async function fullScans(sink: MemorySink, count = 2): Promise<void> {
  const enough = sink.fullScans + count;
  await expect.poll(() => sink.fullScans).toBeGreaterThanOrEqual(enough);
}

/** Writes a picture. Another colour gives other bytes. */
async function picture(path: string, name: string, at?: Date, colour = "#468"): Promise<void> {
  writeFileSync(join(path, name), await jpegOf(64, 48, colour));
  if (at !== undefined) utimesSync(join(path, name), at, at);
}

test("the folder camera imports each picture once, oldest first, with its modification time", async () => {
  const path = temporaryFolder();
  const at = (minute: number): Date => new Date(Date.UTC(2026, 2, 1, 6, minute));
  for (const [name, minute] of [
    ["b.jpg", 1],
    ["a.JPEG", 3],
    ["c.Jpg", 2],
  ] as const)
    await picture(path, name, at(minute));
  const sink = new MemorySink();
  watch(path, sink);
  await expect.poll(() => sink.names).toEqual(["b.jpg", "c.Jpg", "a.JPEG"]);
  expect(sink.stored.map(({ takenAt }) => takenAt)).toEqual([at(1), at(2), at(3)]);
  expect(sink.stored[0]).toMatchObject({ width: 64, height: 48, settings: {} });
  await picture(path, "d.jpg");
  await expect.poll(() => sink.names.at(-1)).toBe("d.jpg");
  await fullScans(sink);
  expect(sink.names).toHaveLength(4);
  expect(sink.failures).toEqual([]);
});

test("the folder camera imports a slowly written picture once the file is complete", async () => {
  const path = temporaryFolder();
  const sink = new MemorySink();
  await picture(path, "other.jpg");
  watch(path, sink, { giveUpMs: 60_000 });
  const jpeg = await jpegOf(400, 300);
  const file = join(path, "slow.jpg");
  writeFileSync(file, jpeg.subarray(0, 2));
  for (let sent = 2; sent < jpeg.length; sent += Math.ceil(jpeg.length / 4)) {
    // Waits longer than the settle time, so the camera reads the file, although it is no complete picture.
    await fullScans(sink, 3);
    expect(sink.names).toEqual(["other.jpg"]);
    appendFileSync(file, jpeg.subarray(sent, sent + Math.ceil(jpeg.length / 4)));
  }
  await expect.poll(() => sink.names).toEqual(["other.jpg", "slow.jpg"]);
  expect(sink.stored[1]?.jpeg.equals(jpeg)).toBe(true);
  expect(sink.failures).toEqual([]);
});

test("the folder camera ignores an upload that stalls after the picture's thumbnail", async () => {
  const path = temporaryFolder();
  const whole = await jpegWithThumbnail();
  const half = whole.length - 100;
  writeFileSync(join(path, "a.jpg"), whole.subarray(0, half));
  await picture(path, "b.jpg");
  const sink = new MemorySink();
  watch(path, sink, { giveUpMs: 60_000 });
  await expect.poll(() => sink.names).toContain("b.jpg");
  await fullScans(sink);
  expect(sink.names).toEqual(["b.jpg"]);
  appendFileSync(join(path, "a.jpg"), whole.subarray(half));
  await expect.poll(() => sink.names).toEqual(["b.jpg", "a.jpg"]);
  expect(sink.stored[1]?.jpeg.equals(whole)).toBe(true);
  expect(sink.failures).toEqual([]);
});

test("the folder camera treats an overwritten file as another picture", async () => {
  const path = temporaryFolder();
  const sink = new MemorySink();
  await picture(path, "newest.jpg");
  watch(path, sink);
  await expect.poll(() => sink.stored.length).toBe(1);
  const other = await jpegOf(80, 60);
  writeFileSync(join(path, "beside"), other);
  renameSync(join(path, "beside"), join(path, "newest.jpg"));
  await expect.poll(() => sink.stored.length).toBe(2);
  expect(sink.stored[1]?.jpeg.equals(other)).toBe(true);
  expect(new Set(sink.stored.map(({ name }) => name)).size).toBe(2);
});

test("the folder camera ignores files without the name of a picture, and reports each file once that has such a name but is no picture", async () => {
  const path = temporaryFolder();
  await picture(path, ".hidden.jpg");
  await picture(path, "notes.txt");
  mkdirSync(join(path, "folder.jpg"));
  writeFileSync(join(path, "half.jpg"), (await jpegOf()).subarray(0, 100));
  writeFileSync(join(path, "words.jpg"), "these are words");
  writeFileSync(join(path, "nothing.jpg"), "");
  const sink = new MemorySink();
  watch(path, sink);
  await expect.poll(() => sink.failures.length).toBe(3);
  await picture(path, "whole.jpg");
  await expect.poll(() => sink.names).toEqual(["whole.jpg"]);
  await fullScans(sink);
  expect(sink.failures.sort()).toEqual([
    "half.jpg delivered a JPEG without its end: 100 bytes",
    "nothing.jpg delivered nothing",
    expect.stringMatching(/^words.jpg delivered no JPEG/),
  ]);
  expect(sink.names).toEqual(["whole.jpg"]);
});

test("the folder camera imports pictures in subfolders, even if a subfolder was created later", async () => {
  const path = temporaryFolder();
  const today = join(path, "2026", "11", "29");
  mkdirSync(today, { recursive: true });
  await picture(today, "0001.jpg");
  const sink = new MemorySink();
  watch(path, sink);
  await expect.poll(() => sink.names).toEqual(["2026/11/29/0001.jpg"]);
  const tomorrow = join(path, "2026", "11", "30", "001", "jpg");
  mkdirSync(tomorrow, { recursive: true });
  await picture(tomorrow, "0001.jpg");
  await expect.poll(() => sink.names.slice(1)).toEqual(["2026/11/30/001/jpg/0001.jpg"]);
  await picture(today, "0002.jpg");
  await expect.poll(() => sink.names.slice(2)).toEqual(["2026/11/29/0002.jpg"]);
  await fullScans(sink);
  expect(sink.stored).toHaveLength(3);
  expect(sink.failures).toEqual([]);
});

test("the folder camera ignores subfolders beyond the depth limit, hidden subfolders, and subfolders for thumbnails and deleted files", async () => {
  const path = temporaryFolder();
  for (const name of ["a", "a/b", ".trash", "@eaDir", "#recycle"]) {
    mkdirSync(join(path, name));
    await picture(join(path, name), "one.jpg");
  }
  const sink = new MemorySink();
  watch(path, sink, { depth: 1 });
  await expect.poll(() => sink.names).toEqual(["a/one.jpg"]);
  await picture(path, "two.jpg");
  await expect.poll(() => sink.names).toEqual(["a/one.jpg", "two.jpg"]);
  expect(sink.failures).toEqual([]);
});

test("the folder camera does not follow links to outside of the folder", async () => {
  const [path, outside] = [temporaryFolder(), temporaryFolder()];
  await picture(outside, "secret.jpg");
  symlinkSync(outside, join(path, "folder"));
  symlinkSync(join(outside, "secret.jpg"), join(path, "file.jpg"));
  await picture(path, "one.jpg");
  symlinkSync("one.jpg", join(path, "inside.jpg"));
  const sink = new MemorySink();
  watch(path, sink);
  await expect.poll(() => sink.names.sort()).toEqual(["inside.jpg", "one.jpg"]);
  await fullScans(sink);
  expect(sink.names).toHaveLength(2);
});

test("the folder camera watches only the last subfolders by name when there are too many, and reports the limit", async () => {
  const path = temporaryFolder();
  for (const name of ["1", "2", "3", "4"]) {
    mkdirSync(join(path, name));
    await picture(join(path, name), "one.jpg");
  }
  const sink = new MemorySink();
  watch(path, sink, { maxFolders: 3 });
  await expect.poll(() => sink.names.sort()).toEqual(["3/one.jpg", "4/one.jpg"]);
  await fullScans(sink);
  expect(sink.failures).toEqual([expect.stringMatching(/has more than 3 folders: .* move the old ones away$/)]);
});

test("the folder camera imports the next picture on time after a picture that was stored slowly", async () => {
  const path = temporaryFolder();
  const sink = new MemorySink();
  sink.storeMs = 1000;
  await picture(path, "one.jpg");
  // If storing counted as scanning, the next full scan would be in 50 s, and the next quick scan in 30 s.
  watch(path, sink, { scanIntervalMs: 3000 });
  await expect.poll(() => sink.names).toEqual(["one.jpg"]);
  const started = performance.now();
  await picture(path, "two.jpg");
  await expect.poll(() => sink.names).toEqual(["one.jpg", "two.jpg"]);
  expect(performance.now() - started).toBeLessThan(15_000);
});

test("the folder camera imports a new picture before the rest of the pictures that existed at the start", async () => {
  const path = temporaryFolder();
  for (let index = 0; index < 30; index++) await picture(path, `old-${index}.jpg`, new Date(1_700_000_000_000 + index));
  const sink = new MemorySink();
  sink.storeMs = 200;
  watch(path, sink);
  await expect.poll(() => sink.stored.length).toBeGreaterThan(0);
  await picture(path, "new.jpg");
  await expect.poll(() => sink.stored.length).toBe(31);
  expect(sink.names.indexOf("new.jpg")).toBeLessThan(25);
  expect(sink.names.filter((name) => name !== "new.jpg")).toEqual(
    Array.from({ length: 30 }, (_, index) => `old-${index}.jpg`),
  );
});

test("the folder camera reports a too large file once, without reading the file", async () => {
  const path = temporaryFolder();
  await picture(path, "large.jpg");
  truncateSync(join(path, "large.jpg"), 100_000);
  const sink = new MemorySink();
  watch(path, sink, { maxBytes: 99_999 });
  await expect.poll(() => sink.failures.length).toBe(1);
  await picture(path, "whole.jpg");
  await expect.poll(() => sink.names).toEqual(["whole.jpg"]);
  await fullScans(sink);
  expect(sink.failures).toEqual(["large.jpg has 100000 bytes: a picture may have 99999"]);
});

test("the folder camera reports a missing folder once, and watches the folder once it exists", async () => {
  const path = join(temporaryFolder(), "later");
  const sink = new MemorySink();
  watch(path, sink);
  await expect.poll(() => sink.failures).toEqual([expect.stringMatching(/ENOENT.*later/)]);
  mkdirSync(path);
  await picture(path, "one.jpg");
  await expect.poll(() => sink.names).toEqual(["one.jpg"]);
  rmSync(path, { recursive: true });
  await expect.poll(() => sink.failures.length).toBe(2);
  mkdirSync(path);
  await picture(path, "two.jpg");
  await expect.poll(() => sink.names).toEqual(["one.jpg", "two.jpg"]);
  expect(sink.failures).toHaveLength(2);
});

test("the folder camera imports no picture again after the disk was unmounted for a while", async () => {
  const path = temporaryFolder();
  await picture(path, "one.jpg");
  const sink = new MemorySink();
  const camera = watch(path, sink);
  await expect.poll(() => sink.names).toEqual(["one.jpg"]);
  await camera.stop?.();
  // The mount point of a removed disk is an empty folder.
  const away = `${path}-away`;
  onTestFinished(() => rmSync(away, { recursive: true, force: true }));
  renameSync(path, away);
  mkdirSync(path);
  // `stop` waits for the first scan.
  await watch(path, sink).stop?.();
  rmSync(path, { recursive: true });
  renameSync(away, path);
  watch(path, sink);
  await picture(path, "two.jpg");
  await expect.poll(() => sink.names).toEqual(["one.jpg", "two.jpg"]);
});

test("the folder camera reports an unreadable picture once, and imports the other pictures", async () => {
  const path = temporaryFolder();
  symlinkSync("loop.jpg", join(path, "loop.jpg"));
  await picture(path, "one.jpg");
  const sink = new MemorySink();
  watch(path, sink);
  await expect.poll(() => sink.names).toEqual(["one.jpg"]);
  await picture(path, "two.jpg");
  await expect.poll(() => sink.names).toEqual(["one.jpg", "two.jpg"]);
  expect(sink.failures).toEqual([expect.stringMatching(/ELOOP/)]);
});

test("the folder camera leaves pictures in the folder while they cannot be stored, and then imports them in order", async () => {
  const path = temporaryFolder();
  const sink = new MemorySink();
  sink.failure = "the disk is full";
  await picture(path, "one.jpg", new Date(1_700_000_000_000));
  await picture(path, "two.jpg", new Date(1_700_000_001_000));
  watch(path, sink, { deleteTaken: true });
  await expect.poll(() => sink.failures).toEqual(["the disk is full"]);
  sink.failure = undefined;
  await expect.poll(() => sink.names).toEqual(["one.jpg", "two.jpg"]);
  await expect.poll(() => readdirSync(path)).toEqual([]);
  expect(sink.failures).toHaveLength(1);
});

test("the folder camera deletes a stored picture, even after a power cut between storing and deleting", async () => {
  const path = temporaryFolder();
  await picture(path, "kept.jpg");
  const before = new MemorySink();
  const earlier = watch(path, before);
  await expect.poll(() => before.names).toEqual(["kept.jpg"]);
  await earlier.stop?.();
  const sink = new MemorySink();
  sink.known = before.known;
  writeFileSync(join(path, "notes.txt"), "not a picture");
  watch(path, sink, { deleteTaken: true });
  await picture(path, "new.jpg");
  await expect.poll(() => sink.names).toEqual(["new.jpg"]);
  await expect.poll(() => readdirSync(path)).toEqual(["notes.txt"]);
});

test("the folder camera imports only the last files by name when there are too many, and reports the limit", async () => {
  const path = temporaryFolder();
  for (const name of ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]) await picture(path, name);
  const sink = new MemorySink();
  watch(path, sink, { maxFiles: 2 });
  await expect.poll(() => sink.names.sort()).toEqual(["3.jpg", "4.jpg"]);
  // A quick scan finds this picture.
  await picture(path, "5.jpg");
  await expect.poll(() => sink.names.sort()).toEqual(["3.jpg", "4.jpg", "5.jpg"]);
  expect(sink.failures[0]).toBe(`${path} has 4 pictures: only the last 2 are watched, move the old ones away`);
});

test("the folder camera takes no picture on command, and follows no schedule", async () => {
  const broker = await openBroker();
  const path = temporaryFolder();
  const agent = await cameraAt(broker, { camera: new FolderCamera({ path, ...quick }) });
  await expect(agent.captureNow()).rejects.toThrow(`the pictures in ${path} come from another program`);
  const about = await broker.until(() => broker.on(cameraTopic("about"))[0]);
  const { capabilities } = cameraAboutSchema.parse(envelopeOf(about).data);
  expect(capabilities).toEqual({ commands: ["reboot", "sleep"], settings: {}, max_sleep_days: 7 });
  const now = Date.now();
  await broker.publish(commandTopic("schedule.set"), {
    ...{ id: "a-schedule", name: "schedule.set", args: { entries: [] }, issued_by: "alice" },
    ...{ issued_at: new Date(now).toISOString(), expires_at: new Date(now + 60_000).toISOString() },
  });
  const failed = await broker.until(() => broker.on(replyTopic("schedule.set"))[1]);
  expect(envelopeOf(failed).data).toMatchObject({
    status: "failed",
    error: expect.stringContaining("follows no schedule"),
  });
});

test("the folder camera publishes no picture twice after a restart, and imports the pictures that were written meanwhile", async () => {
  const broker = await openBroker();
  const [path, dataPath] = [temporaryFolder(), temporaryFolder()];
  const start = () =>
    cameraAt(broker, { camera: new FolderCamera({ path, ...quick }), config: { dataPath, images: {} } });
  const captures = (): string[] =>
    broker
      .on(eventTopic("capture.completed"))
      .map((message) => captureCompletedSchema.parse(envelopeOf(message).data).capture);
  await picture(path, "one.jpg");
  const agent = await start();
  await broker.until(() => captures().length === 1);
  await agent.stop();
  await picture(path, "two.jpg", undefined, "#864");
  await start();
  await broker.until(() => captures().length === 2);
  await picture(path, "three.jpg", undefined, "#684");
  await broker.until(() => captures().length === 3);
  expect(new Set(captures()).size).toBe(3);
  const stored = readdirSync(join(dataPath, "raw"), { recursive: true, encoding: "utf8" });
  expect(stored.filter((name) => name.endsWith(".jpg"))).toHaveLength(3);
  expect(existsSync(join(path, "one.jpg"))).toBe(true);
});
