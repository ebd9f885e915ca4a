import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { z } from "zod";
import { storageSchema } from "../../../contract/events.ts";
import { DeviceClock } from "../../../device/host/clock.ts";
import { type DiskOutbox, openDiskOutbox } from "../../../device/outbox/disk-outbox.ts";
import type { OutboxEntry, OutgoingMessage } from "../../../device/outbox/outbox.ts";
import { bundled } from "../../support/bundled.ts";
import { startCameraProgram } from "../../support/camera-program.ts";
import { envelopeOf, eventTopic, openBroker, silent, stateTopic } from "../support/cameras.ts";
import type { TestBroker } from "../support/test-broker.ts";

const PROGRAM = bundled("device/main.js");
const errorSchema = z.object({ source: z.string(), error: z.string() });

function temporaryPlace(): string {
  const path = mkdtempSync(join(tmpdir(), "skylapse-dead-disk-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** An outbox whose disk can break: a file takes the place of the folder, so that nothing can be written. */
async function openOutbox() {
  const path = join(temporaryPlace(), "outbox");
  const open = () => openDiskOutbox({ path, clock: new DeviceClock(), logger: silent });
  const outbox = await open();
  onTestFinished(() => outbox.close());
  return {
    outbox,
    open,
    /** Resolves when the outbox has noticed the failure. */
    async breakDisk(): Promise<OutgoingMessage> {
      renameSync(path, `${path}.away`);
      writeFileSync(path, "");
      const first = message("preview", "previews/first", "p".repeat(5000));
      void outbox.put(first);
      await vi.waitUntil(() => outbox.writeFailure);
      return first;
    },
    async repairDisk(): Promise<void> {
      rmSync(path);
      renameSync(`${path}.away`, path);
      await vi.waitUntil(() => outbox.writeFailure === undefined);
    },
  };
}

function message(kind: OutgoingMessage["kind"], topic: string, text = topic): OutgoingMessage {
  const body = kind === "preview" ? Buffer.from(text) : JSON.stringify({ data: text });
  return { topic, kind, retain: kind === "state", at: new Date(), body };
}

function takeAll(outbox: DiskOutbox): OutboxEntry[] {
  const entries: OutboxEntry[] = [];
  for (let entry = outbox.take(); entry !== undefined; entry = outbox.take()) entries.push(entry);
  return entries;
}

const topics = (entries: readonly OutboxEntry[]): string[] => entries.map((entry) => entry.message.topic);

describe("an outbox whose disk cannot be written", () => {
  it("hands out new messages from memory without numbers, previews last", async () => {
    const { outbox, breakDisk } = await openOutbox();
    outbox.connected();
    await breakDisk();
    void outbox.put(message("event", "events/a"));
    void outbox.put(message("state", "state/b"));
    const entries = takeAll(outbox);
    expect(topics(entries)).toEqual(["events/a", "state/b", "previews/first"]);
    expect(entries.map(({ seq, historical }) => [seq, historical])).toEqual(entries.map(() => [undefined, false]));
  });

  it("calls the listener for a new message, and gives the reason of the disk's failure", async () => {
    const { outbox, breakDisk } = await openOutbox();
    outbox.connected();
    await breakDisk();
    expect(outbox.writeFailure).toMatch(/ENOTDIR/);
    const ready = vi.fn();
    outbox.onReady(ready);
    void outbox.put(message("event", "events/a"));
    expect(ready).toHaveBeenCalled();
  });

  it("removes an acknowledged message, and resolves its `put`", async () => {
    const { outbox, breakDisk } = await openOutbox();
    outbox.connected();
    await breakDisk();
    const stored = outbox.put(message("event", "events/a"), "picture/a");
    for (const entry of takeAll(outbox)) await outbox.acknowledge(entry);
    await stored;
    expect(outbox.size).toBe(0);
    expect(outbox.has("picture/a")).toBe(true);
  });

  it("hands out unacknowledged messages again after the link broke, unchanged and without a number", async () => {
    const { outbox, breakDisk } = await openOutbox();
    outbox.connected();
    await breakDisk();
    void outbox.put(message("event", "events/a"));
    const [before] = takeAll(outbox);
    outbox.release(true);
    outbox.connected();
    const [after] = takeAll(outbox);
    expect(before?.message.topic).toBe("events/a");
    expect(after?.message).toEqual(before?.message);
    expect(after?.seq).toBeUndefined();
  });

  it("keeps up to 4 MiB in memory without a link, of which half is for previews, and counts dropped messages", async () => {
    const { outbox, breakDisk } = await openOutbox();
    await breakDisk();
    for (let number = 0; number < 100; number++) void outbox.put(message("preview", "previews/x", "p".repeat(60_000)));
    for (let number = 0; number < 100; number++)
      void outbox.put(message("event", `events/${number}`, "e".repeat(60_000)));
    const sizes = { preview: 0, event: 0 };
    outbox.connected();
    for (const { message: taken } of takeAll(outbox)) {
      if (taken.kind === "preview" || taken.kind === "event") sizes[taken.kind] += taken.body.length;
    }
    expect(sizes.preview).toBeLessThan(2.1 * 1024 * 1024);
    expect(sizes.event).toBeGreaterThan(1.5 * 1024 * 1024);
    expect(sizes.preview + sizes.event).toBeLessThan(4.2 * 1024 * 1024);
    expect(outbox.takeDropped()?.count).toBeGreaterThan(100);
  });

  it("writes the remaining messages when the disk can be written again, so that they survive a restart", async () => {
    const { outbox, open, breakDisk, repairDisk } = await openOutbox();
    await breakDisk();
    const stored = outbox.put(message("event", "events/a"));
    await repairDisk();
    await stored;
    await outbox.close();
    const again = await open();
    onTestFinished(() => again.close());
    again.connected();
    const found: OutboxEntry[] = [];
    await vi.waitUntil(() => found.push(...takeAll(again)) && found.length === 2);
    expect(topics(found).sort()).toEqual(["events/a", "previews/first"]);
  });
});

function lastStorage(broker: TestBroker) {
  const last = broker.on(stateTopic("storage")).at(-1);
  return last === undefined ? undefined : storageSchema.parse(envelopeOf(last).data);
}

function diskErrors(broker: TestBroker): string[] {
  return broker
    .on(eventTopic("error.occurred"))
    .map((event) => errorSchema.parse(envelopeOf(event).data))
    .flatMap(({ source, error }) => (source === "disk" ? [error] : []));
}

function limitFiles(pid: number | undefined, bytes: number | undefined): void {
  execFileSync("prlimit", ["--pid", String(pid), `--fsize=${bytes ?? "unlimited"}:unlimited`]);
}

describe("the camera program", () => {
  it("reports that its disk cannot be written, and later that the disk can be written again", {
    timeout: 180_000,
  }, async () => {
    const broker = await openBroker();
    const camera = await startCameraProgram({ brokerUrl: broker.url, secret: "s3cret", env: { KEEP_PICTURES: "no" } });
    onTestFinished(() => camera.end());
    const completed = () => broker.on(eventTopic("capture.completed")).length;
    await vi.waitUntil(() => completed() > 0 && lastStorage(broker) !== undefined);
    expect(lastStorage(broker)?.unwritable).toBeUndefined();
    // The program's files may not grow any more, which is like a full disk.
    limitFiles(camera.process.pid, 0);
    await vi.waitUntil(() => diskErrors(broker).length > 0);
    expect(diskErrors(broker)[0]).toMatch(/the disk cannot be written.*in memory only/);
    await vi.waitUntil(() => lastStorage(broker)?.unwritable);
    // The camera still takes and publishes pictures.
    const before = completed();
    await vi.waitUntil(() => completed() > before + 2);
    limitFiles(camera.process.pid, undefined);
    await vi.waitUntil(() => lastStorage(broker)?.unwritable === undefined);
    expect(diskErrors(broker)).toHaveLength(1);
  });

  it("starts on a read-only disk, reports the problem in one log line and over its link, and stores no pictures", {
    timeout: 180_000,
  }, async () => {
    const broker = await openBroker();
    const place = temporaryPlace();
    const dataPath = join(place, "data");
    const folder = join(place, "pictures");
    // An outbox of an earlier run.
    mkdirSync(join(dataPath, "raw/.incoming"), { recursive: true });
    mkdirSync(folder);
    // A mount that only the program sees. It needs no privileges.
    const script = 'mount --bind "$DATA_PATH" "$DATA_PATH" && mount -o remount,bind,ro "$DATA_PATH" && exec "$0" "$1"';
    const child = spawn("unshare", ["--map-root-user", "--mount", "sh", "-c", script, process.execPath, PROGRAM], {
      env: {
        PATH: process.env.PATH,
        ...{ CAMERA_ID: "north", CAMERA_SECRET: "s3cret", BROKER_URL: broker.url, DATA_PATH: dataPath },
        ...{
          LOCATION_LAT: "46",
          LOCATION_LON: "7.7",
          CAPTURE_INTERVAL_S: "1",
          KEEP_PICTURES: "yes",
          LOG_LEVEL: "error",
        },
      },
      stdio: ["ignore", "pipe", "inherit"],
    });
    onTestFinished(async () => {
      const closed = once(child, "close");
      if (child.exitCode === null && child.kill("SIGTERM")) await closed;
    });
    let log = "";
    child.stdout.on("data", (text: Buffer) => {
      log += text.toString();
    });
    await vi.waitUntil(() => diskErrors(broker)[0]);
    await vi.waitUntil(() => lastStorage(broker)?.unwritable);
    expect(lastStorage(broker)?.unwritable).toMatch(/read-only file system/i);
    const failed = await vi.waitUntil(() => broker.on(eventTopic("capture.failed"))[0]);
    expect(JSON.stringify(envelopeOf(failed).data)).toMatch(/could not be stored.*read-only file system/);
    const lines = log.trim().split("\n");
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/"msg":"the disk cannot be written.*repair the disk.*restart the camera"/);
    expect(readFileSync("/proc/self/mounts", "utf8")).not.toContain(dataPath);
  });
});
