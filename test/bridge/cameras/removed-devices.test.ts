import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { type DeviceKind, type DeviceStore, openDevices } from "../../../bridge/auth/devices.ts";
import { startAlerts } from "../../../bridge/cameras/alerts/alerts.ts";
import { startLinkGaps } from "../../../bridge/cameras/link-gaps.ts";
import { type PresenceService, startPresence } from "../../../bridge/cameras/presence.ts";
import { startRemovedDevices } from "../../../bridge/cameras/removed-devices.ts";
import { type RecordingLink, recordingLink } from "../support/recording-link.ts";
import { envelope, type Fixture, logger, openFixture, tree, useFakeClock } from "./watcher-fixture.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const STORAGE = { total_bytes: 100, free_bytes: 10 };
const ABOUT = {
  ...{ model: "m", firmware: "f", capture_interval_s: 30 },
  location: { lat: 46, lon: 8, timezone: "Europe/Zurich" },
};
const HOT = { alert: "temperature", severity: "warning", message: "The camera's computer is at 85 °C" };

let fixture: Fixture;
let devices: DeviceStore;
let presence: PresenceService;
let link: RecordingLink;
let parts: { stop(): void | Promise<void> }[];

beforeEach(async () => {
  useFakeClock();
  fixture = await openFixture();
  await start();
});
afterEach(stop);

async function start(): Promise<void> {
  const { journal, cluster, ingest } = fixture;
  const options = { journal, documents: cluster.documents, tree, publish: ingest.publish.bind(ingest), logger };
  devices = await openDevices({ documents: cluster.documents, logger });
  link = recordingLink();
  presence = startPresence({ ...options, link });
  parts = [
    devices,
    presence,
    await startAlerts(options),
    await startLinkGaps(options),
    await startRemovedDevices({ ...options, link, devices }),
  ];
}

async function stop(): Promise<void> {
  for (const part of parts.splice(0).reverse()) await part.stop();
}

async function pass(ms: number): Promise<void> {
  vi.advanceTimersByTime(ms);
  await fixture.settled();
}

const add = (id: string, kind: DeviceKind = "camera") => devices.add({ id, kind, credential: {} });
const camera = (topic: string, data: unknown, id = "north") =>
  fixture.accept(`cameras/${id}/${topic}`, data, { retain: true });
const service = (topic: string, data: unknown) => fixture.accept(`processing/farm/${topic}`, data, { retain: true });

/** The retained topics of an owner. */
function retained(owner = "cameras/north"): string[] {
  const link = fixture.journal.state(`${tree.root}/${owner}/link`);
  return [...fixture.journal.snapshot("dashboard"), ...(link === undefined ? [] : [link])]
    .map(({ topic }) => topic.slice(tree.root.length + 1))
    .filter((topic) => topic.startsWith(`${owner}/`))
    .map((topic) => topic.slice(owner.length + 1))
    .sort();
}
const cleared = (owner?: string) => vi.waitFor(() => expect(retained(owner)).toEqual([]));

/** Publishes messages on every retained topic of a camera. */
async function comeOnline(id = "north"): Promise<void> {
  await camera("link", { status: "online", session: "s1" }, id);
  await camera("about", ABOUT, id);
  await camera("state/storage", STORAGE, id);
  await camera("alerts/temperature", HOT, id);
  const at = new Date().toISOString();
  const dropped = envelope("outbox.dropped", { count: 3, from: at, to: at }, { seq: 1 });
  await fixture.accept(`cameras/${id}/events/outbox.dropped`, dropped);
  await pass(5 * SECOND);
}
const ALL = ["about", "alerts/disk", "alerts/temperature", "link", "state/gaps", "state/presence", "state/storage"];

it("the bridge clears all topics of a removed camera, including the topics of its late messages", async () => {
  await add("north");
  await comeOnline();
  await comeOnline("south");
  expect(retained()).toEqual(ALL);
  await devices.remove("north");
  await cleared();
  // After the removal come the camera's will, an event that was in flight, and an alert that a watcher raises.
  await camera("link", { status: "offline", session: "s1" });
  await fixture.accept("cameras/north/events/capture.completed", envelope("capture.completed", {}));
  await fixture.ingest.publish({
    topic: { kind: "camera-alert", camera: "north", name: "failures" },
    ...{ event: "alert.raised", data: { ...HOT, alert: "failures" }, retain: true },
  });
  await pass(2 * MINUTE);
  await cleared();
  expect(fixture.published("cameras/north/alerts/disk")).toMatchObject([
    { event: "alert.raised" },
    { event: "alert.cleared" },
  ]);
  expect(presence.of("north")).toBeUndefined();
  expect(retained("cameras/south")).toEqual(ALL);
});

it("the bridge clears all topics of a removed processing service, and raises no alert about the service", async () => {
  await add("farm", "processing");
  await service("link", { status: "online", session: "s1" });
  for (let n = 0; n < 11; n++)
    await service(`jobs/j${n}`, { job: `j${n}`, type: "image_processing", status: "queued", progress: 0 });
  await pass(5 * SECOND);
  expect(retained("processing/farm")).toContain("alerts/job-queue");
  await devices.remove("farm");
  await cleared("processing/farm");
  await service("link", { status: "offline", session: "s1" });
  await cleared("processing/farm");
  await pass(20 * MINUTE);
  expect(retained("processing/farm")).toEqual([]);
  expect(fixture.published("processing/farm/alerts/worker-silent")).toEqual([]);
});

it("the bridge clears the topics of a camera that was removed while no server ran", async () => {
  await add("north");
  await comeOnline();
  await stop();
  devices = await openDevices({ documents: fixture.cluster.documents, logger });
  await devices.remove("north");
  devices.stop();
  await fixture.restart();
  await start();
  await cleared();
  await pass(2 * MINUTE);
  expect(retained()).toEqual([]);
  // Clearing a topic does not make presence regard the camera as online.
  expect(fixture.published("cameras/north/state/presence").map(({ event }) => event)).not.toContain("camera.online");
  // After ten minutes, the document about the removal and all saved states are deleted.
  await pass(10 * MINUTE);
  await vi.waitFor(async () => expect(await fixture.cluster.documents.list("removed-devices")).toEqual([]));
  await stop();
  expect((await fixture.cluster.documents.list("alerts")).map(({ key }) => key)).toEqual([]);
  expect((await fixture.cluster.documents.list("link-gaps")).map(({ key }) => key)).toEqual([]);
});

it("the bridge clears the old topics of a camera that is added again, and keeps the new topics", async () => {
  await add("north");
  await comeOnline();
  vi.advanceTimersByTime(1);
  await devices.remove("north");
  await add("north");
  await cleared();
  await camera("about", ABOUT);
  await camera("link", { status: "online", session: "s2" });
  await pass(5 * SECOND);
  const own = ["about", "link", "state/presence"];
  expect(retained()).toEqual(own);
  await stop();
  await fixture.restart();
  await start();
  await pass(2 * MINUTE);
  expect(retained()).toEqual(own);
});

it("the bridge keeps the topics of a camera whose removal was not completed", async () => {
  await add("north");
  await comeOnline();
  vi.advanceTimersByTime(1);
  await fixture.cluster.documents.put("removed-devices", "north", { kind: "camera", removedAt: Date.now() });
  await pass(2 * MINUTE);
  expect(retained()).toEqual(ALL);
});

it.each([
  ["its link, by a will that was forwarded after the clearing", "cameras/north/link"],
  ["a state, by a message of another node", "cameras/north/state/storage"],
])("the bridge clears a removed camera's topic that only the broker retains: %s", async (_, below) => {
  await add("north");
  await comeOnline();
  await devices.remove("north");
  await cleared();
  const topic = `${tree.root}/${below}`;
  link.retained.add(topic);
  link.retained.add(`${tree.root}/cameras/south/link`);
  await pass(5 * SECOND);
  await vi.waitFor(() => expect([...link.retained]).toEqual([`${tree.root}/cameras/south/link`]));
  // The topics of later messages are cleared, too.
  link.retained.add(topic);
  await pass(2 * MINUTE);
  await vi.waitFor(() => expect([...link.retained]).toEqual([`${tree.root}/cameras/south/link`]));
});

it("the bridge keeps the retained topics of a camera that was added again", async () => {
  await add("north");
  await comeOnline();
  vi.advanceTimersByTime(1);
  await devices.remove("north");
  await add("north");
  await cleared();
  // The broker retains the first message of the new camera, but this node's journal does not contain it yet.
  const topic = `${tree.root}/cameras/north/about`;
  link.retained.add(topic);
  await pass(2 * MINUTE);
  expect([...link.retained]).toEqual([topic]);
});
