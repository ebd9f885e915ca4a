import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { type DeviceKind, type DeviceStore, openDevices } from "../../../bridge/auth/devices.ts";
import { startAlerts } from "../../../bridge/cameras/alerts/alerts.ts";
import { startLinkGaps } from "../../../bridge/cameras/link-gaps.ts";
import { type PresenceService, startPresence } from "../../../bridge/cameras/presence.ts";
import { startRemovedDevices } from "../../../bridge/cameras/removed-devices.ts";
import { type RecordingLink, recordingLink } from "../support/recording-link.ts";
import { envelope, logger, openPlace, type Place, stopTheClock, tree } from "./alerts-place.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const STORAGE = { total_bytes: 100, free_bytes: 10 };
const ABOUT = {
  ...{ model: "m", firmware: "f", capture_interval_s: 30 },
  location: { lat: 46, lon: 8, timezone: "Europe/Zurich" },
};
const HOT = { alert: "temperature", severity: "warning", message: "The camera's computer is at 85 °C" };

let place: Place;
let devices: DeviceStore;
let presence: PresenceService;
let link: RecordingLink;
let parts: { stop(): void | Promise<void> }[];

beforeEach(async () => {
  stopTheClock();
  place = await openPlace();
  await start();
});
afterEach(stop);

/** All that makes something of what cameras say. */
async function start(): Promise<void> {
  const { journal, cluster, ingest } = place;
  const watching = { journal, documents: cluster.documents, tree, publish: ingest.publish.bind(ingest), logger };
  devices = await openDevices({ documents: cluster.documents, logger });
  link = recordingLink();
  presence = startPresence({ ...watching, link });
  parts = [
    devices,
    presence,
    await startAlerts(watching),
    await startLinkGaps(watching),
    await startRemovedDevices({ ...watching, link, devices }),
  ];
}

async function stop(): Promise<void> {
  for (const part of parts.splice(0).reverse()) await part.stop();
}

async function pass(ms: number): Promise<void> {
  vi.advanceTimersByTime(ms);
  await place.settled();
}

const add = (id: string, kind: DeviceKind = "camera") => devices.add({ id, kind, credential: {} });
const camera = (topic: string, data: unknown, id = "north") =>
  place.say(`cameras/${id}/${topic}`, data, { retain: true });
const service = (topic: string, data: unknown) => place.say(`processing/farm/${topic}`, data, { retain: true });

/** The topics of an owner of which something is retained. */
function retained(owner = "cameras/north"): string[] {
  const link = place.journal.state(`${tree.root}/${owner}/link`);
  return [...place.journal.snapshot("dashboard"), ...(link === undefined ? [] : [link])]
    .map(({ topic }) => topic.slice(tree.root.length + 1))
    .filter((topic) => topic.startsWith(`${owner}/`))
    .map((topic) => topic.slice(owner.length + 1))
    .sort();
}
const forgotten = (owner?: string) => vi.waitFor(() => expect(retained(owner)).toEqual([]));

/** A camera of which there is everything that can be retained. */
async function comeOnline(id = "north"): Promise<void> {
  await camera("link", { status: "online", session: "s1" }, id);
  await camera("about", ABOUT, id);
  await camera("state/storage", STORAGE, id);
  await camera("alerts/temperature", HOT, id);
  const at = new Date().toISOString();
  const dropped = envelope("outbox.dropped", { count: 3, from: at, to: at }, { seq: 1 });
  await place.say(`cameras/${id}/events/outbox.dropped`, dropped);
  await pass(5 * SECOND);
}
const ALL = ["about", "alerts/disk", "alerts/temperature", "link", "state/gaps", "state/presence", "state/storage"];

it("a camera that is removed leaves nothing behind, and nothing that comes late brings it back", async () => {
  await add("north");
  await comeOnline();
  await comeOnline("south");
  expect(retained()).toEqual(ALL);
  await devices.remove("north");
  await forgotten();
  // Its last will, a picture that was on its way, and an alert that somebody was just about to raise.
  await camera("link", { status: "offline", session: "s1" });
  await place.say("cameras/north/events/capture.completed", envelope("capture.completed", {}));
  await place.ingest.publish({
    topic: { kind: "camera-alert", camera: "north", name: "failures" },
    ...{ event: "alert.raised", data: { ...HOT, alert: "failures" }, retain: true },
  });
  await pass(2 * MINUTE);
  await forgotten();
  expect(place.said("cameras/north/alerts/disk")).toMatchObject([
    { event: "alert.raised" },
    { event: "alert.cleared" },
  ]);
  expect(presence.of("north")).toBeUndefined();
  expect(retained("cameras/south")).toEqual(ALL);
});

it("a processing service that is removed is not missed, nor are its jobs", async () => {
  await add("farm", "processing");
  await service("link", { status: "online", session: "s1" });
  for (let n = 0; n < 11; n++)
    await service(`jobs/j${n}`, { job: `j${n}`, type: "image_processing", status: "queued", progress: 0 });
  await pass(5 * SECOND);
  expect(retained("processing/farm")).toContain("alerts/job-queue");
  await devices.remove("farm");
  await forgotten("processing/farm");
  await service("link", { status: "offline", session: "s1" });
  await forgotten("processing/farm");
  await pass(20 * MINUTE);
  expect(retained("processing/farm")).toEqual([]);
  expect(place.said("processing/farm/alerts/worker-silent")).toEqual([]);
});

it("what was removed while no server ran is forgotten when one does", async () => {
  await add("north");
  await comeOnline();
  await stop();
  devices = await openDevices({ documents: place.cluster.documents, logger });
  await devices.remove("north");
  devices.stop();
  await place.restart();
  await start();
  await forgotten();
  await pass(2 * MINUTE);
  expect(retained()).toEqual([]);
  // That it is forgotten is no word of its own.
  expect(place.said("cameras/north/state/presence").map(({ event }) => event)).not.toContain("camera.online");
  // After ten minutes nobody looks any more, and nothing of it is kept.
  await pass(10 * MINUTE);
  await vi.waitFor(async () => expect(await place.cluster.documents.list("removed-devices")).toEqual([]));
  await stop();
  expect((await place.cluster.documents.list("alerts")).map(({ key }) => key)).toEqual([]);
  expect((await place.cluster.documents.list("link-gaps")).map(({ key }) => key)).toEqual([]);
});

it("a camera that is added again under its id begins with nothing, and keeps what it says from then on", async () => {
  await add("north");
  await comeOnline();
  vi.advanceTimersByTime(1);
  await devices.remove("north");
  await add("north");
  await forgotten();
  await camera("about", ABOUT);
  await camera("link", { status: "online", session: "s2" });
  await pass(5 * SECOND);
  const own = ["about", "link", "state/presence"];
  expect(retained()).toEqual(own);
  await stop();
  await place.restart();
  await start();
  await pass(2 * MINUTE);
  expect(retained()).toEqual(own);
});

it("one that is there is not forgotten for a removal that was never completed", async () => {
  await add("north");
  await comeOnline();
  vi.advanceTimersByTime(1);
  await place.cluster.documents.put("removed-devices", "north", { kind: "camera", removedAt: Date.now() });
  await pass(2 * MINUTE);
  expect(retained()).toEqual(ALL);
});

it.each([
  ["its link, by a will that overtook the clearing", "cameras/north/link"],
  ["a state, by a message of another node", "cameras/north/state/storage"],
])("what the broker alone retains of a removed camera is cleared there: %s", async (_, below) => {
  await add("north");
  await comeOnline();
  await devices.remove("north");
  await forgotten();
  const topic = `${tree.root}/${below}`;
  link.retained.add(topic);
  link.retained.add(`${tree.root}/cameras/south/link`);
  await pass(5 * SECOND);
  await vi.waitFor(() => expect([...link.retained]).toEqual([`${tree.root}/cameras/south/link`]));
  // Later, too, for as long as something may still come.
  link.retained.add(topic);
  await pass(2 * MINUTE);
  await vi.waitFor(() => expect([...link.retained]).toEqual([`${tree.root}/cameras/south/link`]));
});

it("what the broker retains of a camera that is added again is not touched", async () => {
  await add("north");
  await comeOnline();
  vi.advanceTimersByTime(1);
  await devices.remove("north");
  await add("north");
  await forgotten();
  // Its first message, which the journal of this node has not heard of yet.
  const topic = `${tree.root}/cameras/north/about`;
  link.retained.add(topic);
  await pass(2 * MINUTE);
  expect([...link.retained]).toEqual([topic]);
});
