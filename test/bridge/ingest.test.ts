import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { type Logger, pino } from "pino";
import { ulid } from "ulid";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { channelNotices, createIngest, PublicationRefusedError, RESERVED_CHANNELS } from "../../bridge/ingest.ts";
import type { Entry } from "../../bridge/journal/journal.ts";
import { type JournalLimits, openLevelJournal } from "../../bridge/journal/stores/level/level.ts";
import { openPreviews } from "../../bridge/previews/previews.ts";
import { StoreUnavailableError } from "../../platform/errors.ts";
import type { LoggedPublication } from "../../platform/publication-log.ts";
import type { IncomingPublication } from "../../platform/publications.ts";
import { smallJpeg } from "../support/jpeg.ts";
import { logger, tree } from "./websocket/server.ts";

const NOW = Date.parse("2026-03-01T06:30:00.000Z");
const JPEG = smallJpeg("one");

interface OpenOptions {
  limits: Partial<JournalLimits>;
  isRegistered: (camera: string) => boolean;
  log: Logger;
}

async function openIngest(path?: string, more: Partial<OpenOptions> = {}) {
  const folder = path ?? (await mkdtemp(join(tmpdir(), "skylapse-ingest-")));
  if (path === undefined) onTestFinished(() => rm(folder, { recursive: true }));
  const retention = { retentionEvents: 10_000, retentionHours: 24 };
  const { limits = {}, isRegistered, log = logger } = more;
  const journal = await openLevelJournal({ path: join(folder, "journal"), sync: false, logger, ...retention, limits });
  onTestFinished(() => journal.close());
  const previews = await openPreviews({ path: join(folder, "previews") });
  const channels = new Map();
  const ingest = createIngest({
    ...{ journal, tree, channels, previews, maxPayloadBytes: 10_000, logger: log, now: () => NOW },
    ...(isRegistered === undefined ? {} : { isRegistered }),
  });
  const entries: Entry[] = [];
  journal.follow((batch) => entries.push(...batch));
  const published: LoggedPublication[] = [];
  journal.mqtt?.publications.follow((batch) => published.push(...batch));
  return { folder, journal, ingest, previews, entries, published };
}

function publication(topic: string, body: unknown, more: Partial<IncomingPublication> = {}): IncomingPublication {
  const payload = Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
  return { identity: "device:north", topic: `skylapse/v1/${topic}`, payload, qos: 1, retain: false, ...more };
}

const content = (entry: Entry | undefined) => JSON.parse(`{${entry?.body}}`);
const envelope = {
  v: 1,
  id: "01J1",
  timestamp: "2026-03-01T06:00:00Z",
  session: "boot-1",
  seq: 1,
  event: "x",
  data: 7,
};

describe("a publication", () => {
  it("becomes a journal entry on its channels, with the fields of its envelope", async () => {
    const { ingest, entries } = await openIngest();
    const body = { ...envelope, event: "capture.completed", data: { capture: "c1" } };
    expect(await ingest.accept(publication("cameras/north/events/capture.completed", body))).toEqual({
      forward: true,
    });
    expect(entries).toMatchObject([{ channels: ["camera:north", "dashboard"], camera: "north", state: undefined }]);
    expect(content(entries[0])).toEqual({
      ...{ event: "capture.completed", data: { capture: "c1" }, timestamp: "2026-03-01T06:00:00Z", id: "01J1" },
      ...{ camera: "north", topic: "cameras/north/events/capture.completed", seq: envelope.seq },
    });
    expect(ingest.stats()).toMatchObject({ accepted: 1, duplicates: 0 });
  });

  it("keeps what an MQTT 5 client stores with it in the log, whatever its kind and QoS", async () => {
    const { ingest, journal, published } = await openIngest();
    const stored = { publisher: "user:alice", expiresAt: NOW + 60_000, properties: Buffer.from([1, 2, 3]) };
    await ingest.accept(publication("cameras/north/events/x", envelope, stored));
    await ingest.accept(publication("cameras/north/previews/one", JPEG, stored));
    await ingest.accept(publication("cameras/north/state/power", "on", { ...stored, qos: 0, retain: true }));
    expect(published).toMatchObject([stored, stored, stored]);
    const [retained] = await journal.mqtt.publications.retained(["skylapse/v1/cameras/north/state/power"]);
    expect(retained).toMatchObject(stored);
  });

  it("is acknowledged again when it is repeated, without being recorded or forwarded again", async () => {
    const { ingest, entries } = await openIngest();
    await ingest.accept(publication("cameras/north/events/x", envelope));
    const repeated = await ingest.accept(publication("cameras/north/events/x", envelope));
    expect(repeated).toEqual({ forward: false });
    expect(entries).toHaveLength(1);
    expect(ingest.stats()).toMatchObject({ accepted: 1, duplicates: 1 });
  });

  it("gets its camera from its topic, whatever the payload contains, and keeps a timestamp in the far future", async () => {
    const { ingest, entries } = await openIngest();
    const timestamp = "2099-01-01T00:00:00Z";
    const body = { ...envelope, timestamp, data: { camera: "south" }, camera: "south" };
    await ingest.accept(publication("cameras/north/events/x", body));
    expect(content(entries[0])).toMatchObject({ camera: "north", timestamp, data: { camera: "south" } });
  });

  it("without an envelope gets an envelope with the current time", async () => {
    const { ingest, entries } = await openIngest();
    await ingest.accept(publication("cameras/north/state/power", Buffer.from("off"), { retain: true }));
    expect(content(entries[0])).toMatchObject({
      ...{ event: "resource.update", data: { text: "off" }, timestamp: "2026-03-01T06:30:00.000Z" },
    });
  });

  it("that is retained sets its topic's state, clears the state if it is empty, and changes nothing if it is historical", async () => {
    const { ingest, journal, entries } = await openIngest();
    const topic = "cameras/north/state/power";
    const state = () => journal.state(`skylapse/v1/${topic}`)?.position;
    await ingest.accept(publication(topic, { source: "solar" }, { retain: true }));
    await ingest.accept(publication(topic, { source: "mains" }));
    const late = publication(topic, { ...envelope, historical: true }, { retain: true });
    expect(await ingest.accept(late)).toEqual({ forward: true, historical: true });
    expect(state()).toBe(1);
    expect(content(entries[2])).toMatchObject({ historical: true });
    await ingest.accept(publication(topic, Buffer.alloc(0), { retain: true }));
    expect(state()).toBeUndefined();
    expect(entries.map((entry) => entry.state)).toEqual(["set", undefined, undefined, "clear"]);
    expect(content(entries[3])).toMatchObject({ event: "state.cleared", data: null });
  });

  it("that clears an alert names the alert", async () => {
    const { ingest, entries } = await openIngest();
    await ingest.accept(publication("cameras/north/alerts/disk-full", Buffer.alloc(0), { retain: true }));
    expect(content(entries[0])).toMatchObject({ event: "alert.cleared", data: { alert: "disk-full" } });
    expect(entries[0]).toMatchObject({ channels: ["alerts", "camera:north", "dashboard"], state: "clear" });
  });

  it.each([
    "cameras/north/link",
    "cameras/north/commands/reboot",
    "cameras/north/replies/reboot",
    "cameras/north/own/x",
  ])("to %s is recorded on no channel", async (topic) => {
    const { ingest, entries } = await openIngest();
    expect(await ingest.accept(publication(topic, { status: "online" }))).toEqual({ forward: true });
    expect(entries[0]?.channels).toEqual([]);
  });

  it("outside the root is forwarded and not recorded", async () => {
    const { ingest, entries } = await openIngest();
    const foreign = await ingest.accept(publication("x", 1, { topic: "home/kitchen" }));
    expect(foreign).toEqual({ forward: true });
    expect(entries).toEqual([]);
    expect(ingest.stats().foreign).toBe(1);
  });

  it("is refused if it is too large, or its topic is unknown", async () => {
    const { ingest } = await openIngest();
    const large = publication("cameras/north/events/x", Buffer.alloc(10_001));
    await expect(ingest.accept(large)).rejects.toThrow("10001 bytes, more than MAX_PAYLOAD_BYTES 10000");
    await expect(ingest.accept(publication("kitchen/light", 1))).rejects.toThrow(PublicationRefusedError);
    expect(ingest.stats().refused).toBe(2);
  });

  it("of QoS 0 is accepted before it is durable, and is dropped when the store fails", async () => {
    const { ingest, journal, entries } = await openIngest();
    const append = vi.spyOn(journal, "append");
    const once = publication("cameras/north/events/x", 1, { qos: 0 });
    expect(await ingest.accept(once)).toEqual({ forward: true });
    await expect.poll(() => entries).toHaveLength(1);
    expect(append.mock.calls[0]?.[0].publish).toBeUndefined();
    await journal.close();
    expect(await ingest.accept(once)).toEqual({ forward: true });
    await expect.poll(() => ingest.stats()).toMatchObject({ accepted: 1, dropped: 1, failed: 1 });
  });

  it("of QoS 0 waits for the store if it is a will, which the store may refuse", async () => {
    const { ingest, journal } = await openIngest();
    await journal.close();
    const will = publication("cameras/north/events/x", 1, { qos: 0, willOf: "north" });
    await expect(ingest.accept(will)).rejects.toThrow(StoreUnavailableError);
  });

  it("of QoS 0 is dropped while ten thousand writes are under way", async () => {
    const { ingest, journal } = await openIngest();
    const never = new Promise<never>(() => {});
    vi.spyOn(journal, "append").mockReturnValue(never);
    const once = publication("cameras/north/events/x", 1, { qos: 0 });
    for (let count = 0; count < 10_002; count++) await ingest.accept(once);
    expect(ingest.stats().dropped).toBe(2);
  });

  it("is not accepted when the store is unavailable", async () => {
    const { ingest, journal } = await openIngest();
    await journal.close();
    await expect(ingest.accept(publication("cameras/north/events/x", 1))).rejects.toThrow(StoreUnavailableError);
    expect(ingest.stats()).toMatchObject({ accepted: 0, failed: 1 });
  });

  it("gets its position in order of arrival", async () => {
    const { ingest, entries } = await openIngest();
    await Promise.all(
      Array.from({ length: 50 }, (_, index) => ingest.accept(publication("cameras/north/events/x", index))),
    );
    expect(entries.map(({ position }) => position)).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));
    expect(entries.map((entry) => content(entry).data)).toEqual(Array.from({ length: 50 }, (_, index) => index));
  });

  it("becomes one JSON object, whatever its bytes", async () => {
    const { ingest, entries } = await openIngest();
    const json = fc.json({ maxDepth: 5 }).map((text) => Buffer.from(text));
    const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array));
    await fc.assert(
      fc.asyncProperty(fc.oneof(json, bytes), async (payload) => {
        await ingest.accept(publication("cameras/north/events/x", payload));
        expect(content(entries.at(-1))).toMatchObject({ camera: "north" });
      }),
    );
  });
});

describe("a preview", () => {
  const topic = "cameras/north/previews/c1";

  it("is stored as a file, and its URL is recorded", async () => {
    const { ingest, previews, entries } = await openIngest();
    expect(await ingest.accept(publication(topic, JPEG))).toEqual({ forward: true });
    const kept = await previews.read("north");
    expect(kept?.jpeg).toEqual(JPEG);
    expect(content(entries[0])).toEqual({
      ...{ event: "preview.updated", timestamp: "2026-03-01T06:30:00.000Z", camera: "north", topic },
      data: { capture: "c1", url: "/cameras/north/latest.jpg", etag: kept?.preview.etag, size_bytes: JPEG.length },
    });
    expect(entries[0]).toMatchObject({ channels: ["camera:north", "dashboard"] });
  });

  it("is still one event when it is sent again, but another event when its bytes differ", async () => {
    const { ingest, entries } = await openIngest();
    await ingest.accept(publication(topic, JPEG));
    expect(await ingest.accept(publication(topic, JPEG))).toEqual({ forward: false });
    await ingest.accept(publication(topic, smallJpeg("another")));
    expect(entries).toHaveLength(2);
  });

  it("from a backlog is recorded as historical", async () => {
    const { ingest, entries } = await openIngest();
    const [early, late] = [ulid(Date.now() - 60_000), ulid(Date.now())].map((id) => id.toLowerCase());
    for (const capture of [late, early])
      await ingest.accept(publication(`cameras/north/previews/${capture}`, smallJpeg(`${capture}`)));
    expect(content(entries[0])).not.toHaveProperty("historical");
    expect(content(entries[1])).toMatchObject({ event: "preview.updated", data: { capture: early }, historical: true });
  });

  it.each([
    ["is no JPEG", Buffer.from("GIF89a, and more"), "no JPEG"],
    ["is empty", Buffer.alloc(0), "no JPEG"],
    ["is too large", Buffer.alloc(10_001), "MAX_PAYLOAD_BYTES"],
  ])("that %s is refused", async (_, payload, reason) => {
    const { ingest, entries } = await openIngest();
    await expect(ingest.accept(publication(topic, payload))).rejects.toThrow(reason);
    expect(entries).toEqual([]);
  });
});

it("ingest accepts more previews than it writes at the same time", async () => {
  const { ingest } = await openIngest();
  const many = Array.from({ length: 100 }, (_, index) =>
    ingest.accept(publication(`cameras/c${index % 3}/previews/c${index}`, JPEG, { identity: `device:c${index % 3}` })),
  );
  await Promise.all(many);
  expect(ingest.stats()).toMatchObject({ accepted: 100, failed: 0 });
});

describe("an event of the backend", () => {
  const status = { topic: { kind: "system", name: "status" }, event: "system.status", retain: true } as const;

  it("is recorded, and published with an envelope before its publisher goes on", async () => {
    const { ingest, entries, published } = await openIngest();
    const publishing = ingest.publish({ ...status, data: { status: "ok" } });
    expect(published).toEqual([]);
    expect(await publishing).toEqual({ position: 1 });
    expect(published).toMatchObject([{ topic: "skylapse/v1/system/status", qos: 1, retain: true, position: 1 }]);
    const message = JSON.parse(String(published[0]?.payload));
    expect(message).toMatchObject({ v: 1, event: "system.status", data: { status: "ok" } });
    expect(content(entries[0])).toMatchObject({ id: message.id, timestamp: "2026-03-01T06:30:00.000Z" });
    expect(entries[0]).toMatchObject({ state: "set", channels: ["system", "dashboard"] });
    expect(ingest.timesOf(1)?.durableAt).toBeGreaterThan(0);
  });

  it("clears its topic when it is retained and null", async () => {
    const { ingest, entries, published } = await openIngest();
    await ingest.publish({ ...status, data: null });
    expect(entries[0]?.state).toBe("clear");
    expect(published).toMatchObject([{ retain: true, payload: Buffer.alloc(0) }]);
  });

  it("is published once, also when the server restarts, and so is a message of a device", async () => {
    const first = await openIngest();
    await first.ingest.accept(publication("cameras/north/events/a", "device"));
    await first.ingest.publish({ ...status, data: "backend" });
    expect(first.published).toHaveLength(2);
    await first.journal.close();

    const second = await openIngest(first.folder);
    await second.ingest.reportLostCommands();
    await second.ingest.publish({ ...status, data: "new" });
    expect(second.published).toMatchObject([{ position: 3 }]);
  });
});

it("a command that the relay has not finished is reported as lost after a restart, once", async () => {
  const command = (name: string) => publication("cameras/north/commands/reboot", { id: name });
  const run = vi.fn();
  const first = await openIngest();
  first.ingest.attachCommands({ run, reportLost: vi.fn() });
  for (const name of ["done", "open"]) await first.ingest.accept(command(name));
  expect(first.published).toEqual([]);
  await expect.poll(() => run.mock.calls.length).toBe(2);
  run.mock.calls[0]?.[0].settled();
  await first.journal.close();

  const second = await openIngest(first.folder);
  const reportLost = vi.fn();
  await second.ingest.reportLostCommands();
  second.ingest.attachCommands({ run, reportLost });
  const { payload } = command("open");
  expect(reportLost.mock.calls).toEqual([[{ id: expect.any(String), camera: "north", name: "reboot", payload }]]);
  await second.journal.close();

  const third = await openIngest(first.folder);
  third.ingest.attachCommands({ run, reportLost });
  await third.ingest.reportLostCommands();
  expect(reportLost).toHaveBeenCalledTimes(1);
});

describe("a broadcast by MQTT", () => {
  const to = (channel: string) => publication(`channels/${channel}/events/a.b`, {}, { identity: "user:eve" });

  it("is accepted for built-in channels, and for channels of cameras that are registered or have published", async () => {
    const { ingest, journal } = await openIngest(undefined, { isRegistered: (camera) => camera === "registered" });
    await ingest.accept(publication("cameras/known/events/a.b", {}));
    for (const channel of ["dashboard", "camera:registered", "camera:known"])
      expect(await ingest.accept(to(channel))).toMatchObject({ forward: true });
    for (const channel of ["nowhere", "camera:unknown"]) {
      await expect(ingest.accept(to(channel))).rejects.toThrow(PublicationRefusedError);
      expect(journal.hasChannel(channel)).toBe(false);
    }
  });

  it("is not logged by ingest when it is refused, because the broker reports it at a bounded rate", async () => {
    const lines: string[] = [];
    const log = pino({ level: "info" }, { write: (line: string) => lines.push(line) });
    const { ingest } = await openIngest(undefined, { log });
    await expect(ingest.accept(to("camera:c0"))).rejects.toMatchObject({
      permanent: true,
      reason: "no_channel",
      message: expect.stringContaining("camera c0 is not registered"),
    });
    expect(lines).toEqual([]);
  });
});

describe("the reserved channels of the journal", () => {
  it("are for registered cameras: new unregistered cameras are refused, and known cameras continue", async () => {
    const { ingest, journal } = await openIngest(undefined, {
      limits: { maxChannels: RESERVED_CHANNELS + 3 },
      isRegistered: (camera) => camera.startsWith("registered"),
    });
    const publish = (camera: string) => ingest.accept(publication(`cameras/${camera}/events/a.b`, {}));
    await publish("one");
    expect(channelNotices(journal)).toEqual([]);
    await publish("two");
    expect(channelNotices(journal)).toEqual([expect.stringMatching(/^the journal has room for 20000 more channels/)]);
    expect(journal.freeChannels).toBe(RESERVED_CHANNELS);
    await expect(publish("three")).rejects.toThrow(/register three \(npx skylapse camera add three\)/);
    for (const camera of ["one", "registered-1", "registered-2"])
      expect(await publish(camera)).toMatchObject({ forward: true });
  });
});
