import { beforeEach, expect, it, onTestFinished, vi } from "vitest";
import { startHomeAssistant } from "../../../../bridge/cameras/home-assistant/home-assistant.ts";
import type { Watcher } from "../../../../bridge/cameras/watcher.ts";
import type { Presence } from "../../../../contract/events.ts";
import { discoveryTopic } from "../../../../contract/home-assistant.ts";
import { type HomeAssistantState, homeAssistantStateSchema } from "../../../../contract/home-assistant-state.ts";
import { DEFAULT_TOPIC_ROOT, topicTree } from "../../../../contract/topics.ts";
import { smallJpeg } from "../../../support/jpeg.ts";
import { type RecordingLink, recordingLink } from "../../support/recording-link.ts";
import { envelope, type Fixture, logger, openFixture, START, useFakeClock } from "../watcher-fixture.ts";
import { discovered, isAvailable } from "./home-assistant-schema.ts";

const SECOND = 1000;
const PREFIX = "homeassistant";
const tree = topicTree(DEFAULT_TOPIC_ROOT, PREFIX);
const STATE = tree.build({ kind: "home-assistant", of: "north", name: "state" });
const PICTURE = tree.build({ kind: "home-assistant", of: "north", name: "picture" });
const CONFIG = discoveryTopic(PREFIX, tree.root, "north");
const ABOUT = {
  ...{ model: "m", firmware: "f", name: "North ridge", capture_interval_s: 30 },
  location: { lat: 46, lon: 8, timezone: "Europe/Zurich" },
};

let fixture: Fixture;
let link: RecordingLink;
let watcher: Watcher;

beforeEach(async () => {
  useFakeClock();
  fixture = await openFixture();
  link = recordingLink();
  onTestFinished(() => watcher.stop());
  await start();
});

/** @param prefix "off": discovery is switched off */
async function start(prefix = PREFIX): Promise<void> {
  const { journal, cluster, previews: pictures } = fixture;
  watcher = await startHomeAssistant({
    ...{ journal, documents: cluster.documents, pictures, version: "1.0.0", logger },
    tree: topicTree(tree.root, prefix === "off" ? undefined : prefix),
    publishToMqtt: (publication) => link.publish(publication),
  });
}

/** Stops the watcher, and starts it again above the same store with an empty list of publications. */
async function restart(): Promise<void> {
  await watcher.stop();
  await fixture.restart();
  link.publications.length = 0;
  await start();
}

const present = (status: Presence["status"], camera = "north") =>
  fixture.ingest.publish({
    ...{ topic: { kind: "camera-state", camera, name: "presence" }, event: `camera.${status}`, retain: true },
    data: { status, since: new Date().toISOString() },
  });
const remove = () =>
  fixture.ingest.publish({
    ...{ topic: { kind: "camera-state", camera: "north", name: "presence" }, event: "state.cleared", retain: true },
    data: null,
  });
const camera = (topic: string, data: unknown) => fixture.accept(`cameras/north/${topic}`, data, { retain: true });
const preview = (capture: string) =>
  fixture.ingest.accept({
    ...{ identity: "device:north", topic: `${tree.root}/cameras/north/previews/${capture}`, qos: 1, retain: false },
    payload: smallJpeg(capture),
  });
const payloads = (topic: string) =>
  link.publications.filter((one) => one.topic === topic).map(({ payload }) => payload);
const states = (): HomeAssistantState[] =>
  payloads(STATE)
    .filter(({ length }) => length > 0)
    .map((payload) => homeAssistantStateSchema.parse(JSON.parse(payload.toString())));
/** Lets one check after the other pass until the assertion holds. */
const until = (assert: () => void) =>
  vi.waitFor(
    () => {
      vi.advanceTimersByTime(SECOND);
      assert();
    },
    { interval: 10 },
  );
const shows = (state: Partial<HomeAssistantState>) => until(() => expect(states().at(-1)).toMatchObject(state));
const published = (topic: string, times: number) => until(() => expect(payloads(topic)).toHaveLength(times));

/** Lets checks pass without a change. */
async function pass(ms: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
  await fixture.settled();
}

it("announces a camera by its name, after its state, and publishes both again only after a change", async () => {
  await camera("about", ABOUT);
  await present("online");
  await published(CONFIG, 1);
  expect(link.publications.map(({ topic, qos, retain }) => ({ topic, qos, retain }))).toEqual([
    { topic: STATE, qos: 1, retain: true },
    { topic: CONFIG, qos: 1, retain: true },
  ]);
  const [config = Buffer.of()] = payloads(CONFIG);
  expect(discovered(PREFIX, CONFIG, config.toString()).has("capture_interval_s")).toBe(true);
  await camera("about", ABOUT);
  await pass(3 * SECOND);
  expect(link.publications).toHaveLength(2);
  await camera("about", { ...ABOUT, name: "North summit" });
  await published(CONFIG, 2);
  expect(JSON.parse(String(payloads(CONFIG)[1])).device.name).toBe("North summit");
});

it("says that a camera is available by its computed presence, whatever its link says", async () => {
  await camera("link", { status: "online", session: "s1" });
  await present("online");
  await shows({ availability: "online", connected: "ON" });
  const battery = () => {
    const entities = discovered(PREFIX, CONFIG, String(payloads(CONFIG).at(-1)));
    const entity = entities.get("battery_percent");
    return entity === undefined ? undefined : isAvailable(entity, String(payloads(STATE).at(-1)));
  };
  await camera("state/power", { source: "battery", battery_percent: 60 });
  await published(CONFIG, 2);
  expect(battery()).toBe(true);
  await camera("link", { status: "offline", session: "s1" });
  await pass(3 * SECOND);
  expect(states().at(-1)?.availability).toBe("online");
  await present("offline");
  await shows({ availability: "offline", connected: "OFF", presence: "offline", battery_percent: 60 });
  expect(battery()).toBe(false);
});

it("shows an alert while it is raised", async () => {
  await present("online");
  await camera("alerts/disk", { alert: "disk", severity: "warning", message: "Storage is 91 % full" });
  await shows({ problem: "ON", problems: { disk: "Storage is 91 % full" } });
  expect(states().at(-1)?.alerts.disk).toBe("ON");
  await camera("alerts/disk", null);
  await shows({ problem: "OFF", problems: {} });
  expect(states().at(-1)?.alerts.disk).toBe("OFF");
});

it("publishes the newest picture with QoS 0, at most once in the interval of pictures", async () => {
  await present("online");
  await preview("c1");
  await published(PICTURE, 1);
  for (const capture of ["c2", "c3", "c4"]) await preview(capture);
  await pass(8 * SECOND);
  expect(payloads(PICTURE)).toEqual([smallJpeg("c1")]);
  await published(PICTURE, 2);
  expect(payloads(PICTURE)[1]).toEqual(smallJpeg("c4"));
  expect(link.publications.filter(({ topic }) => topic === PICTURE)).toMatchObject([
    { qos: 0, retain: true },
    { qos: 0, retain: true },
  ]);
  await pass(60 * SECOND);
  expect(payloads(PICTURE)).toHaveLength(2);
});

it.each([
  ["a live capture", { timestamp: new Date(START - 2 * SECOND).toISOString() }, -2],
  ["a live capture of a camera with a wrong clock", { timestamp: "2020-01-01T00:00:00.000Z" }, 0],
  ["a capture of the future", { timestamp: "2039-01-01T00:00:00.000Z" }, 0],
  ["a late capture", { timestamp: new Date(START - 3600 * SECOND).toISOString(), historical: true }, -3600],
])("says when the last picture was taken: %s", async (_, more, seconds) => {
  await present("online");
  await fixture.accept("cameras/north/events/capture.completed", envelope("capture.completed", {}, more));
  await shows({ last_capture: new Date(START + seconds * SECOND).toISOString() });
});

it("remembers over a restart the last capture, the picture and the sensors of a camera", async () => {
  await present("online");
  await camera("state/power", { source: "battery", battery_percent: 60 });
  await published(CONFIG, 1);
  await preview("c1");
  await fixture.accept("cameras/north/events/capture.completed", envelope("capture.completed", {}));
  await published(PICTURE, 1);
  await shows({ battery_percent: 60 });
  const lastCapture = states().at(-1)?.last_capture;
  await camera("state/power", { source: "mains" });
  await shows({ battery_percent: null });
  await restart();
  await published(CONFIG, 1);
  expect(lastCapture).toBeDefined();
  expect(states()).toMatchObject([{ last_capture: lastCapture, battery_percent: null }]);
  expect(discovered(PREFIX, CONFIG, String(payloads(CONFIG)[0])).has("battery_percent")).toBe(true);
  await pass(3 * SECOND);
  expect(payloads(PICTURE)).toEqual([]);
});

it("clears everything about a removed camera, the announcement first, and nothing about others", async () => {
  await present("online");
  await present("online", "south");
  await preview("c1");
  await published(PICTURE, 1);
  await published(discoveryTopic(PREFIX, tree.root, "south"), 1);
  await camera("state/power", { source: "battery", battery_percent: 60 });
  await published(CONFIG, 2);
  link.publications.length = 0;
  // The bridge clears all topics of a removed camera.
  await camera("state/power", null);
  await remove();
  await until(() => expect([...link.retained].filter((topic) => topic.includes("north"))).toEqual([]));
  expect(link.publications.map(({ topic }) => topic)).toEqual([CONFIG, STATE, PICTURE]);
  expect(link.retained.size).toBe(2);
  // A camera that is added under the id has published no battery yet.
  await present("never_seen");
  await shows({ presence: "never_seen" });
  await published(CONFIG, 2);
  expect(discovered(PREFIX, CONFIG, String(payloads(CONFIG)[1])).has("battery_percent")).toBe(false);
});

it.each([
  ["and is in the journal", false],
  ["longer ago than the journal goes back", true],
])("clears what was removed while nobody watched, %s", async (_, isLongAgo) => {
  await present("online");
  await published(CONFIG, 1);
  await watcher.stop();
  await remove();
  if (isLongAgo) await fixture.cluster.documents.delete("fold-checkpoints", "home-assistant");
  await start();
  await until(() => expect([...link.retained]).toEqual([]));
});

it.each([
  ["another prefix", "house", 2],
  ["discovery switched off", "off", 0],
])("clears at the next start what was announced before: %s", async (_, prefix, left) => {
  await present("online");
  await preview("c1");
  await published(PICTURE, 1);
  await published(CONFIG, 1);
  await watcher.stop();
  await fixture.restart();
  link.publications.length = 0;
  await start(prefix);
  expect(link.publications.slice(0, 3).map(({ topic, payload }) => [topic, payload.length])).toEqual([
    [CONFIG, 0],
    [STATE, 0],
    [PICTURE, 0],
  ]);
  await until(() => expect(link.retained.size).toBeGreaterThanOrEqual(left));
  expect(link.retained).not.toContain(CONFIG);
  expect(await fixture.cluster.documents.list("home-assistant")).toHaveLength(left === 0 ? 0 : 1);
});

it("publishes later what the store has refused", async () => {
  link.failure = new Error("the disk is full");
  await present("online");
  await preview("c1");
  await pass(5 * SECOND);
  link.failure = undefined;
  await published(CONFIG, 1);
  await published(PICTURE, 1);
  expect(payloads(STATE)).toHaveLength(1);
});
