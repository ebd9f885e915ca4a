import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  MAX_CAMERA_NAME_LENGTH,
  MAX_CAMERA_NOTES_LENGTH,
  MAX_TAG_LENGTH,
  MAX_TAGS_PER_CAMERA,
} from "../../../contract/camera-records.ts";
import { auditText } from "../../support/audit.ts";
import { makeDataPath, removeDataPath } from "../../support/skylapse.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";
import { connect } from "../websocket/client.ts";

const RECORD = {
  name: "North face",
  notes: "The key is at the hut.\nBattery changed in May.",
  location: { lat: 46.5, lon: 8 },
  tags: ["winter", "4k"],
};

let bridge: TestBridge;
let dataPath: string;
beforeEach(async () => {
  dataPath = makeDataPath();
  bridge = await startTestBridge({ dataPath });
  await call("POST", "/devices", { id: "north" });
  await call("POST", "/devices", { id: "south" });
  await expect.poll(async () => (await call("GET", "/cameras")).body.total).toBe(2);
});
afterEach(async () => {
  await bridge.stop();
  removeDataPath(dataPath);
});

const call = (method: string, path: string, body?: object, token = OPERATOR_KEY) =>
  bridge.call(path, { method, token, ...(body === undefined ? {} : { body }) });
const put = (body: object, camera = "north") => call("PUT", `/cameras/${camera}`, body);
const socket = (...permissions: string[]) => connect(`ws://127.0.0.1:${bridge.port}/ws`, bridge.mint(...permissions));
const publishedRecord = (camera = "north") => {
  const entry = bridge.journal.state(`skylapse/v1/cameras/${camera}/state/record`);
  return entry === undefined ? undefined : JSON.parse(`{${entry.body}}`).data;
};

describe("PUT /cameras/{id}", () => {
  it("stores what an admin writes about a camera, also about one that never connected", async () => {
    const { status, body } = await put(RECORD);
    expect([status, body]).toEqual([200, { ...RECORD, groups: [] }]);
    const token = bridge.mint("dashboard:read");
    const shown = (await call("GET", "/cameras/north", undefined, token)).body;
    expect(shown).toMatchObject({ presence: { status: "never_seen" }, record: body });
    expect(shown.states).not.toHaveProperty("record");
    const { cameras } = (await call("GET", "/cameras", undefined, token)).body;
    expect(cameras.map(({ record }: { record: unknown }) => record)).toEqual([body, undefined]);
    await expect
      .poll(() => auditText(dataPath))
      .toContain('"camera.update","who":"operator","address":"127.0.0.1","target":"camera:north"');
    expect(auditText(dataPath)).not.toContain("The key is at the hut");
  });

  it("changes only the named fields, and null removes a field", async () => {
    await put(RECORD);
    expect((await put({ name: "South face" })).body).toMatchObject({ ...RECORD, name: "South face" });
    expect((await put({ name: null, location: null, tags: [] })).body).toEqual({
      notes: RECORD.notes,
      ...{ tags: [], groups: [] },
    });
    await put({ notes: null });
    await expect.poll(async () => (await call("GET", "/cameras/north")).body).not.toHaveProperty("record");
    await expect.poll(() => publishedRecord()).toBeUndefined();
  });

  it("deletes a record that is cleared, so that it does not count towards the most records", async () => {
    const stored = () => bridge.cluster.documents.list("camera-records");
    await put(RECORD);
    await put({ name: "South face" }, "south");
    expect((await stored()).map(({ key }) => key)).toEqual(["north", "south"]);
    const cleared = { name: null, notes: null, location: null, tags: [] };
    expect((await put(cleared)).body).toEqual({ tags: [], groups: [] });
    expect((await stored()).map(({ key }) => key)).toEqual(["south"]);
    // A camera without a record gets none by clearing.
    expect((await put(cleared)).status).toBe(200);
    expect(await stored()).toHaveLength(1);
    expect((await put(RECORD)).body).toEqual({ ...RECORD, groups: [] });
  });

  it("keeps the record over a restart", async () => {
    await put(RECORD);
    await bridge.stop();
    bridge = await startTestBridge({ dataPath });
    expect((await call("GET", "/cameras/north")).body.record).toEqual({ ...RECORD, groups: [] });
  });

  it("keeps each tag once, without blanks around it", async () => {
    expect((await put({ tags: [" winter ", "winter", "4k"] })).body.tags).toEqual(["winter", "4k"]);
  });

  it.each<[string, object, string]>([
    ["no field", {}, "The body must name"],
    ["an unknown field", { color: "red" }, "unknown fields: color"],
    ["a name that is too long", { name: "x".repeat(MAX_CAMERA_NAME_LENGTH + 1) }, "`name` must have at most"],
    ["a blank name", { name: "  " }, "`name` must have at least"],
    ["a name of two lines", { name: "a\nb" }, "`name` must be one line"],
    ["a name that reverses its text", { name: "a\u202eb" }, "`name` must be one line"],
    ["notes that are too long", { notes: "x".repeat(MAX_CAMERA_NOTES_LENGTH + 1) }, "`notes` must have at most"],
    ["half a place", { location: { lat: 46 } }, "`location.lon` is missing"],
    ["a place outside the world", { location: { lat: 91, lon: 8 } }, "`location.lat` must be at most"],
    [
      "too many tags",
      { tags: Array.from({ length: MAX_TAGS_PER_CAMERA + 1 }, (_, index) => `t${index}`) },
      "`tags` must",
    ],
    ["a tag that is too long", { tags: ["x".repeat(MAX_TAG_LENGTH + 1)] }, "`tags.0` must have at most"],
  ])("refuses %s", async (_, body, message) => {
    const answer = await put(body);
    expect([answer.status, answer.body.error?.message]).toEqual([400, expect.stringContaining(message)]);
  });

  it("answers 404 for a camera of which nothing is known", async () => {
    expect((await put(RECORD, "west")).status).toBe(404);
  });
});

describe("an open dashboard", () => {
  it("gets a change at once, and only if it may see the camera", async () => {
    const [all, southOnly] = [await socket("dashboard:read"), await socket("dashboard:read", "camera:south:read")];
    for (const one of [all, southOnly]) await one.subscribe("dashboard");
    await put(RECORD);
    await put({ name: "South face" }, "south");
    const isRecord = ({ event }: { event: string }) => event === "camera.record";
    const event = await all.next("dashboard_event", isRecord);
    expect(event).toMatchObject({ camera: "north", data: { ...RECORD, groups: [] } });
    const ofSouth = await southOnly.next("dashboard_event", isRecord);
    expect(ofSouth).toMatchObject({ camera: "south", data: { name: "South face" } });
    expect(JSON.stringify(southOnly.messages)).not.toContain("North face");
  });

  it("gets the groups of a camera, and the new name of a group", async () => {
    const dashboard = await socket("dashboard:read");
    await dashboard.subscribe("dashboard");
    const groups = (expected: object[]) =>
      dashboard.next(
        "dashboard_event",
        ({ event, data }) =>
          event === "camera.record" &&
          JSON.stringify((data as { groups: unknown }).groups) === JSON.stringify(expected),
      );
    await call("POST", "/camera-groups", { id: "alps", name: "Alps", cameras: ["north"] });
    expect(await groups([{ id: "alps", name: "Alps" }])).toMatchObject({ camera: "north" });
    await call("PUT", "/camera-groups/alps", { name: "The Alps" });
    expect(await groups([{ id: "alps", name: "The Alps" }])).toMatchObject({ camera: "north" });
    await call("DELETE", "/camera-groups/alps");
    expect(await dashboard.next("dashboard_event", ({ event }) => event === "state.cleared")).toMatchObject({
      camera: "north",
    });
  });

  it("does not get a camera that only a group lists, until the camera exists", async () => {
    await call("POST", "/camera-groups", { id: "alps", name: "Alps", cameras: ["west", "north"] });
    await expect.poll(() => publishedRecord("north")).toBeDefined();
    expect(publishedRecord("west")).toBeUndefined();
    expect((await call("GET", "/cameras")).body.total).toBe(2);
    await call("POST", "/devices", { id: "west" });
    await expect.poll(() => publishedRecord("west")).toMatchObject({ groups: [{ id: "alps" }] });
  });
});

describe("the published record", () => {
  it("cannot be written by the camera", async () => {
    const { grantsOf } = await import("../../../contract/permissions.ts");
    const { topicTree } = await import("../../../contract/topics.ts");
    const camera = grantsOf(["device:north"], { tree: topicTree() });
    expect(camera.canWriteTopic("skylapse/v1/cameras/north/state/record")).toBe(false);
    expect(camera.canWriteTopic("skylapse/v1/cameras/north/state/storage")).toBe(true);
  });

  it("follows the store after a start, if the journal has lost it", async () => {
    await put(RECORD);
    await expect.poll(() => publishedRecord()).toBeDefined();
    await bridge.say("cameras/north/state/record", Buffer.alloc(0), true);
    await expect.poll(() => publishedRecord()).toEqual({ ...RECORD, groups: [] });
  });
});

describe("the removal of a camera", () => {
  it("removes its record and takes it out of its groups: a camera with the same id starts without them", async () => {
    await put(RECORD);
    await call("POST", "/camera-groups", { id: "alps", name: "Alps", cameras: ["north", "south"] });
    await call("DELETE", "/devices/north");
    await expect.poll(() => publishedRecord()).toBeUndefined();
    expect((await call("GET", "/camera-groups")).body.groups).toMatchObject([
      { id: "alps", name: "Alps", cameras: ["south"] },
    ]);
    await call("POST", "/devices", { id: "north" });
    await expect.poll(async () => (await call("GET", "/cameras/north")).status).toBe(200);
    expect((await call("GET", "/cameras/north")).body).not.toHaveProperty("record");
  });
});
