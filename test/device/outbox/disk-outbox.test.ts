import { randomBytes } from "node:crypto";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClassicLevel } from "classic-level";
import { expect, onTestFinished, test, vi } from "vitest";
import { DeviceClock } from "../../../device/host/clock.ts";
import { type DiskOutbox, type DiskOutboxOptions, openDiskOutbox } from "../../../device/outbox/disk-outbox.ts";
import type { OutboxEntry, OutgoingMessage } from "../../../device/outbox/outbox.ts";
import { silent } from "../support/cameras.ts";

const HOUR_MS = 3_600_000;

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "skylapse-outbox-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return join(path, "outbox");
}

async function open(path: string, options: Partial<DiskOutboxOptions> = {}): Promise<DiskOutbox> {
  const outbox = await openDiskOutbox({ path, clock: new DeviceClock(), logger: silent, ...options });
  onTestFinished(() => outbox.close());
  return outbox;
}

function message(kind: OutgoingMessage["kind"], topic: string, text = topic, at = new Date()): OutgoingMessage {
  const body = kind === "preview" ? Buffer.from(text) : JSON.stringify({ data: text });
  return { topic, kind, retain: kind === "state" || kind === "alert", at, body };
}

/** Waits for `count` messages, and takes these messages. */
async function take(outbox: DiskOutbox, count: number): Promise<OutboxEntry[]> {
  const entries: OutboxEntry[] = [];
  await new Promise<void>((resolve) => {
    const look = (): void => {
      while (entries.length < count) {
        const entry = outbox.take();
        if (entry === undefined) return;
        entries.push(entry);
      }
      resolve();
    };
    outbox.onReady(look);
    look();
  });
  return entries;
}

/** The topic of the message that {@link DiskOutbox.take} would return. */
function next(outbox: DiskOutbox): string | undefined {
  let topic: string | undefined;
  outbox.take((entry) => {
    topic = entry.message.topic;
    return false;
  });
  return topic;
}

const topics = (entries: OutboxEntry[]): string[] => entries.map(({ message: { topic } }) => topic);

test("the disk outbox restores messages after a restart with their order, body and time", async () => {
  const path = folder();
  const clock = DeviceClock.of(() => new Date("2026-03-01T07:00:00Z"));
  const first = await open(path, { clock });
  const at = new Date("2026-03-01T06:30:00.123Z");
  await first.put(message("event", "one", "one", at));
  await first.put(message("preview", "two", "a picture", at));
  await first.close();
  const second = await open(path, { clock });
  expect(second.size).toBe(2);
  second.connected();
  const [event, preview] = await take(second, 2);
  expect(event).toMatchObject({
    seq: 1,
    at,
    historical: true,
    message: { topic: "one", kind: "event", retain: false },
  });
  expect(event?.message.body).toBe('{"data":"one"}');
  expect(Buffer.from(preview?.message.body ?? "").toString()).toBe("a picture");
  expect(preview).toMatchObject({ seq: undefined, backlog: true });
});

test("the disk outbox marks an event from before the link as historical, even if the event is put later", async () => {
  const outbox = await open(folder());
  outbox.connected();
  const before = new Date(Date.now() - 60_000);
  await outbox.put(message("event", "before", "before", before));
  await outbox.put(message("preview", "small before", "bytes", before));
  await outbox.put(message("event", "after"));
  const entries = await take(outbox, 3);
  expect(entries.map(({ message: { topic }, historical, backlog }) => ({ topic, historical, backlog }))).toEqual([
    { topic: "after", historical: false, backlog: false },
    { topic: "before", historical: true, backlog: true },
    { topic: "small before", historical: false, backlog: true },
  ]);
});

test("the disk outbox restores the numbers of sent and unacknowledged messages after a restart", async () => {
  const path = folder();
  const first = await open(path);
  for (const name of ["a", "b", "c", "d"]) await first.put(message("event", name));
  first.connected();
  const [a, b] = await take(first, 2);
  if (a === undefined || b === undefined) expect.fail("nothing to take");
  // "b" is never acknowledged.
  await first.acknowledge(a);
  await first.acknowledge(a);
  await first.close();
  const second = await open(path);
  second.connected();
  const entries = await take(second, 3);
  expect(entries.map(({ seq, message: { topic } }) => [topic, seq])).toEqual([
    ["b", 2],
    ["c", 3],
    ["d", 4],
  ]);
});

test("the disk outbox takes back the numbers of unsent messages when the link flaps, so that replaced states leave no gap", async () => {
  const outbox = await open(folder());
  await outbox.put(message("event", "event"));
  await outbox.put(message("state", "storage", "old"));
  outbox.connected();
  await new Promise<void>((resolve) => outbox.onReady(resolve));
  outbox.release(false);
  await outbox.put(message("state", "storage", "new"));
  outbox.connected();
  const entries = await take(outbox, 2);
  expect(entries.map(({ seq, message: { body } }) => [seq, body])).toEqual([
    [1, '{"data":"new"}'],
    [2, '{"data":"event"}'],
  ]);
  expect(outbox.size).toBe(2);
});

test("the disk outbox hands out after a reconnect, in this order: newest states, alerts, replies, new events, the new preview, the backlog, old previews", async () => {
  const outbox = await open(folder());
  await outbox.put(message("event", "old event 1"));
  await outbox.put(message("preview", "old picture 1"));
  await outbox.put(message("state", "state", "older"));
  await outbox.put(message("alert", "alert"));
  await outbox.put(message("event", "old event 2"));
  await outbox.put(message("state", "state", "newer"));
  await outbox.put(message("reply", "reply"));
  outbox.connected();
  const entries = await take(outbox, 3);
  await outbox.put(message("preview", "picture 1"));
  await vi.waitUntil(() => next(outbox) === "picture 1");
  await Promise.all(["picture 2", "picture 3"].map((name) => outbox.put(message("preview", name))));
  await outbox.put(message("event", "event now"));
  await vi.waitUntil(() => next(outbox) === "event now");
  entries.push(...(await take(outbox, 2)));
  await vi.waitUntil(() => next(outbox) === "picture 3");
  entries.push(...(await take(outbox, 5)));
  expect(topics(entries)).toEqual([
    "state",
    "alert",
    "reply",
    "event now",
    "picture 1",
    "picture 3",
    "old event 1",
    "old event 2",
    "old picture 1",
    "picture 2",
  ]);
  expect(entries[0]?.message.body).toBe('{"data":"newer"}');
  expect(entries.filter(({ historical }) => historical).map(({ message: { topic } }) => topic)).toEqual([
    "old event 1",
    "old event 2",
  ]);
});

test("the disk outbox hands out a state again as historical if it was sent and then replaced by a new state", async () => {
  const outbox = await open(folder());
  outbox.connected();
  await outbox.put(message("state", "storage", "sent"));
  await take(outbox, 1);
  outbox.release(false);
  await outbox.put(message("state", "storage", "newest"));
  outbox.connected();
  const entries = await take(outbox, 2);
  expect(entries.map(({ seq, historical, message: { body } }) => ({ seq, historical, body }))).toEqual([
    { seq: 2, historical: false, body: '{"data":"newest"}' },
    { seq: 1, historical: true, body: '{"data":"sent"}' },
  ]);
});

test("the disk outbox does not send the clearing of an alert that was raised again", async () => {
  const outbox = await open(folder());
  outbox.connected();
  await outbox.put({ topic: "disk", kind: "alert", retain: true, at: new Date(), body: new Uint8Array(0) });
  await take(outbox, 1);
  outbox.release(false);
  await outbox.put(message("alert", "disk", "raised"));
  outbox.connected();
  const [raised] = await take(outbox, 1);
  expect(raised?.message.body).toBe('{"data":"raised"}');
  expect(outbox.size).toBe(1);
});

test("the disk outbox drops the oldest previews and then the oldest events when full, and reports the drop afterwards", async () => {
  const clock = DeviceClock.of(() => new Date("2026-03-01T07:00:00Z"));
  const outbox = await open(folder(), { maxBytes: 10_000, clock });
  const at = (minute: number): Date => new Date(Date.UTC(2026, 2, 1, 6, minute));
  for (let index = 0; index < 4; index++) {
    await outbox.put(message("event", `event ${index}`, "x".repeat(1000), at(index)));
    await outbox.put(message("preview", `picture ${index}`, "x".repeat(1500), at(index)));
  }
  expect(outbox.takeDropped()).toBeUndefined();
  await outbox.put(message("event", "large", "x".repeat(6000), at(10)));
  outbox.connected();
  const entries = await take(outbox, 3);
  expect(topics(entries)).toEqual(["event 2", "event 3", "large"]);
  for (const entry of entries) await outbox.acknowledge(entry);
  expect(outbox.takeDropped()).toEqual({ count: 6, from: at(0), to: at(3) });
  expect(outbox.takeDropped()).toBeUndefined();
});

test("the disk outbox reports dropped messages after a restart", async () => {
  const path = folder();
  const first = await open(path, { maxMessages: 3 });
  for (let index = 0; index < 5; index++) await first.put(message("event", `event ${index}`));
  await first.close();
  const second = await open(path, { maxMessages: 30 });
  expect(second.takeDropped()).toMatchObject({ count: 2 });
});

test("the disk outbox drops previews and events above the age limit, but no states", async () => {
  let now = new Date("2026-03-01T00:00:00Z");
  const outbox = await open(folder(), { maxAgeMs: 48 * HOUR_MS, clock: DeviceClock.of(() => now) });
  await outbox.put(message("event", "too old", "", now));
  await outbox.put(message("state", "state", "", now));
  now = new Date(now.getTime() + 47 * HOUR_MS);
  await outbox.put(message("event", "old", "", now));
  now = new Date(now.getTime() + 2 * HOUR_MS);
  outbox.connected();
  expect(topics(await take(outbox, 2))).toEqual(["state", "old"]);
  expect(outbox.takeDropped()).toMatchObject({ count: 1 });
});

test("the disk outbox measures the age from the time of `put`, even after a restart", async () => {
  let now = new Date("2026-03-01T00:00:00Z");
  const path = folder();
  const options = { maxAgeMs: 48 * HOUR_MS, clock: DeviceClock.of(() => now) };
  const outbox = await open(path, options);
  await outbox.put(message("event", "taken by a clock that is ahead", "", new Date("2027-01-01T00:00:00Z")));
  await outbox.put(message("event", "taken last year", "", new Date("2025-03-01T00:00:00Z")));
  expect(outbox.size).toBe(2);
  await outbox.close();
  now = new Date(now.getTime() + 47 * HOUR_MS);
  const second = await open(path, options);
  await second.put(message("event", "also taken last year", "", new Date("2025-03-01T00:00:00Z")));
  expect(second.size).toBe(3);
  expect(second.takeDropped()).toBeUndefined();
  now = new Date(now.getTime() + 2 * HOUR_MS);
  second.connected();
  expect(topics(await take(second, 1))).toEqual(["also taken last year"]);
  expect(second.takeDropped()).toMatchObject({ count: 2 });
});

test("the disk outbox drops numbered messages as the last resort, so that the outbox is bounded", async () => {
  const outbox = await open(folder(), { maxMessages: 10 });
  for (let index = 0; index < 10; index++) await outbox.put(message("event", `sent ${index}`));
  outbox.connected();
  await take(outbox, 10);
  outbox.release(false);
  for (let index = 0; index < 25; index++) await outbox.put(message("report", `report ${index}`));
  expect(outbox.size).toBe(25);
  await outbox.put(message("event", "event"));
  expect(outbox.size).toBe(25);
});

test("the disk outbox corrects the times of earlier messages when the clock is set", async () => {
  let wall = Date.UTC(2024, 0, 1);
  let mono = 5000;
  let synchronised = false;
  const clock = new DeviceClock({
    now: () => new Date(wall),
    monoMs: () => mono,
    boot: "this boot",
    synchronised: () => synchronised,
  });
  const outbox = await open(folder(), { clock });
  await outbox.put(message("event", "early", "", clock.now()));
  [wall, mono] = [wall + 60_000, mono + 60_000];
  outbox.connected();
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  outbox.connected();
  await outbox.put(message("event", "live", "", clock.now()));
  // Only the backlog waits for the clock. New messages do not wait.
  expect(topics(await take(outbox, 1))).toEqual(["live"]);
  expect(outbox.take()).toBeUndefined();
  wall = Date.UTC(2026, 2, 1, 6, 31);
  synchronised = true;
  const ready = take(outbox, 1);
  vi.advanceTimersByTime(1000);
  vi.useRealTimers();
  const [early] = await ready;
  expect(early?.at).toEqual(new Date(Date.UTC(2026, 2, 1, 6, 30)));
});

test("the disk outbox loses only the incomplete part of a log after a power cut", async () => {
  const path = folder();
  const first = await open(path);
  for (let index = 0; index < 50; index++) await first.put(message("event", `event ${index}`));
  await first.close();
  const log = readdirSync(path).find((name) => name.endsWith(".log"));
  if (log === undefined) expect.fail("no log");
  truncateSync(join(path, log), statSync(join(path, log)).size - 30);
  const second = await open(path);
  expect(second.size).toBe(49);
  second.connected();
  expect(topics(await take(second, 49)).at(-1)).toBe("event 48");
});

test("the disk outbox repairs a store without its manifest", async () => {
  const path = folder();
  const first = await open(path);
  for (let index = 0; index < 20; index++) await first.put(message("event", `event ${index}`));
  await first.close();
  rmSync(join(path, "CURRENT"));
  for (const name of readdirSync(path)) if (name.startsWith("MANIFEST")) rmSync(join(path, name));
  const second = await open(path);
  expect(second.size).toBe(20);
});

test.each([
  ["overwritten", (table: string) => writeFileSync(table, Buffer.alloc(statSync(table).size))],
  ["cut off", (table: string) => truncateSync(table, Math.floor(statSync(table).size / 2))],
])("the disk outbox starts with a table that is %s, and loses only the table's messages", async (_, damage) => {
  const path = folder();
  for (const round of [1, 2]) {
    // A start moves messages from the log to a table.
    const outbox = await open(path);
    for (let index = 0; index < 100; index++) await outbox.put(message("event", `event ${round}`));
    await outbox.close();
  }
  const tables = readdirSync(path).filter((name) => name.endsWith(".ldb"));
  expect(tables.length).toBeGreaterThan(0);
  for (const name of tables) damage(join(path, name));
  const outbox = await open(path);
  expect(outbox.size).toBeGreaterThanOrEqual(100);
  outbox.connected();
  expect(topics(await take(outbox, 1))).toHaveLength(1);
});

test("the disk outbox moves the store aside if the program ended during a repair, and does not repeat the repair", async () => {
  const path = folder();
  const first = await open(path);
  await first.put(message("event", "event"));
  await first.close();
  writeFileSync(join(path, "CURRENT"), "");
  writeFileSync(join(path, "repairing"), "");
  const second = await open(path);
  expect(second.size).toBe(0);
  expect(readdirSync(`${path}.damaged`)).toContain("repairing");
  expect(readdirSync(path)).not.toContain("repairing");
});

test("the disk outbox opens and works with any contents of its files", async () => {
  for (const victim of [/^CURRENT$/, /^MANIFEST/, /\.log$/, /./]) {
    const path = folder();
    const first = await open(path);
    for (let index = 0; index < 20; index++) await first.put(message("event", `event ${index}`));
    await first.close();
    for (const name of readdirSync(path))
      if (victim.test(name) && name !== "LOCK" && name !== "large") writeFileSync(join(path, name), randomBytes(5000));
    const second = await open(path);
    await second.put(message("event", "new"));
    second.connected();
    expect(topics(await take(second, second.size)).at(-1)).toBe("new");
    await second.close();
  }
});

function picture(fill: number, bytes = 40_000): OutgoingMessage {
  return { ...message("preview", `picture ${fill}`), body: Buffer.alloc(bytes, fill) };
}

const filesOf = (path: string): string[] => readdirSync(join(path, "large"));

test("the disk outbox stores a preview as a file until it is acknowledged", async () => {
  const path = folder();
  const first = await open(path);
  for (const fill of [1, 2]) await first.put(picture(fill));
  await first.close();
  expect(filesOf(path)).toHaveLength(2);
  const second = await open(path);
  second.connected();
  const entries = await take(second, 2);
  expect(entries.map(({ message: { body } }) => Buffer.from(body).equals(Buffer.alloc(40_000, 1)))).toEqual([
    true,
    false,
  ]);
  await second.acknowledge(entries[0] ?? expect.fail());
  expect(filesOf(path)).toHaveLength(1);
  await second.acknowledge(entries[1] ?? expect.fail());
  expect(filesOf(path)).toHaveLength(0);
});

test("the disk outbox hands out every preview unchanged while other previews are acknowledged", async () => {
  const outbox = await open(folder());
  const fills = Array.from({ length: 60 }, (_, index) => index + 1);
  for (const fill of fills) await outbox.put(picture(fill, 4096 + 1000 * fill));
  outbox.connected();
  const underWay: OutboxEntry[] = [];
  for (const fill of fills) {
    underWay.push(...(await take(outbox, 1)));
    if (fill % 3 === 0)
      for (const entry of underWay.splice(0)) {
        const index = Number(/\d+/.exec(entry.message.topic)?.[0]);
        expect(Buffer.from(entry.message.body).equals(Buffer.alloc(4096 + 1000 * index, index))).toBe(true);
        void outbox.acknowledge(entry);
      }
  }
  await vi.waitUntil(() => outbox.size === 0);
});

test("the disk outbox drops and reports a preview that was damaged on the disk, and hands out the other previews", async () => {
  const path = folder();
  const first = await open(path);
  for (const fill of [1, 2, 3]) await first.put(picture(fill));
  await first.close();
  const [torn = "", lost = ""] = filesOf(path).sort();
  truncateSync(join(path, "large", torn), 20_000);
  rmSync(join(path, "large", lost));
  const second = await open(path);
  second.connected();
  expect(topics(await take(second, 1))).toEqual(["picture 3"]);
  expect(second.takeDropped()).toMatchObject({ count: 2 });
});

test("after a power cut, the disk outbox deletes the file of a preview that is not in the database, but no file of a later preview", async () => {
  const path = folder();
  const first = await open(path);
  await first.put(picture(1));
  await first.close();
  const [name = ""] = filesOf(path);
  const second = await open(path);
  second.connected();
  await second.acknowledge((await take(second, 1))[0] ?? expect.fail());
  await second.close();
  writeFileSync(join(path, "large", name), "half a pict");
  const third = await open(path);
  expect(filesOf(path)).toEqual([]);
  await third.put(picture(2));
  third.connected();
  const [entry] = await take(third, 1);
  expect(Buffer.from(entry?.message.body ?? "").equals(Buffer.alloc(40_000, 2))).toBe(true);
});

async function isOpen(path: string): Promise<boolean> {
  const error: unknown = await new ClassicLevel(path).open().catch((reason: unknown) => reason);
  return error instanceof Error && error.cause instanceof Error && "code" in error.cause
    ? error.cause.code === "LEVEL_LOCKED"
    : false;
}

test("the disk outbox treats no message as unreadable while the database cannot be opened", async () => {
  const path = folder();
  const outbox = await open(path);
  await outbox.put(message("alert", "a"));
  await outbox.put(message("state", "b"));
  const current = readFileSync(join(path, "CURRENT"));
  // The database can be neither written nor reopened.
  rmSync(join(path, "large"), { recursive: true });
  writeFileSync(join(path, "CURRENT"), "");
  const stored = outbox.put(picture(1));
  await vi.waitUntil(async () => !(await isOpen(path)));
  outbox.connected();
  const taken = take(outbox, 3);
  // Without the outbox's wait, the read would have finished by now.
  await new Promise(setImmediate);
  await vi.waitUntil(async () => !(await isOpen(path)));
  mkdirSync(join(path, "large"));
  writeFileSync(join(path, "CURRENT"), current);
  await stored;
  expect(topics(await taken).sort()).toEqual(["a", "b", "picture 1"]);
  expect(outbox.takeDropped()).toBeUndefined();
});

test("the disk outbox drops the oldest previews on a full disk, so that other messages can be written", async () => {
  const path = folder();
  const outbox = await open(path);
  for (const fill of [1, 2]) await outbox.put(picture(fill));
  const next = `b!${String(3).padStart(15, "0")}`;
  symlinkSync("/dev/full", join(path, "large", next));
  const stored = outbox.put(picture(3));
  await vi.waitUntil(() => filesOf(path).join() === next);
  rmSync(join(path, "large", next));
  await stored;
  expect(outbox.takeDropped()).toMatchObject({ count: 2 });
  outbox.connected();
  expect(topics(await take(outbox, 1))).toEqual(["picture 3"]);
});

test("the disk outbox deletes only the oldest previews when the disk is too full to open the store, and reports the deletion", async () => {
  const path = folder();
  const first = await open(path);
  for (let fill = 1; fill <= 40; fill++) await first.put(picture(fill));
  await first.put(message("event", "event"));
  await first.close();
  // On opening, LevelDB turns its log into a table, and removes a table that it cannot write.
  symlinkSync("/dev/full", join(path, "000005.ldb"));
  const outbox = await open(path);
  const left = filesOf(path).length;
  expect(left).toBeGreaterThan(0);
  expect(left).toBeLessThan(40);
  outbox.connected();
  expect(topics(await take(outbox, 1))).toEqual(["event"]);
  for (let count = 0; count < left; count++) await take(outbox, 1);
  expect(outbox.takeDropped()).toMatchObject({ count: 40 - left });
});

test("the disk outbox explains a full disk when there is no preview to delete", async () => {
  const path = folder();
  const first = await open(path);
  await first.put(message("event", "event"));
  await first.close();
  symlinkSync("/dev/full", join(path, "000005.ldb"));
  await expect(open(path)).rejects.toThrow(/No space left on device \(free some space on that disk\)$/);
  const second = await open(path);
  expect(second.size).toBe(1);
});

test("the disk outbox refuses a second agent on the same folder, and stays intact", async () => {
  const path = folder();
  const first = await open(path);
  await first.put(message("event", "kept"));
  await expect(open(path)).rejects.toThrow(/another process uses it/);
  await first.put(message("event", "more"));
  expect(first.size).toBe(2);
});

test("the disk outbox stores a deduplication key with its message until the key is deleted, even over restarts", async () => {
  const path = folder();
  const first = await open(path);
  await first.put(message("event", "picture"), "folder/one.jpg");
  await first.put(message("event", "picture"), "folder/two.jpg");
  expect(first.has("folder/one.jpg")).toBe(true);
  await first.keepOnly(new Set(["folder/two.jpg"]));
  await first.close();
  const second = await open(path);
  expect([second.has("folder/one.jpg"), second.has("folder/two.jpg")]).toEqual([false, true]);
});
