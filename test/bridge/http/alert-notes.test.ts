import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { MAX_ALERT_NOTES, MAX_MUTE_MINUTES } from "../../../bridge/http/routes/alert-notes.ts";
import { topicTree } from "../../../contract/topics.ts";
import { auditText } from "../../support/audit.ts";
import { makeDataPath, removeDataPath } from "../../support/skylapse.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";
import { connect } from "../websocket/client.ts";

const DISK = { alert: "disk", severity: "warning", message: "80 %" };
let bridge: TestBridge;
let dataPath: string;
let camera = "";
let cameras = 0;

const start = async () => {
  bridge = await startTestBridge({ dataPath, env: { MAX_REQUESTS_PER_MINUTE: "0", MAX_REQUESTS_PER_SECOND: "0" } });
};
beforeAll(async () => {
  dataPath = makeDataPath();
  await start();
});
afterAll(async () => {
  await bridge.stop();
  removeDataPath(dataPath);
});
beforeEach(async () => {
  camera = `camera-${++cameras}`;
  await bridge.say(`cameras/${camera}/state/storage`, { total_bytes: 100, free_bytes: 20 }, true);
  await bridge.say(`cameras/${camera}/alerts/disk`, DISK, true);
});

const change = (action: string, body?: object, { method = "POST", permission = `camera:${camera}:control` } = {}) =>
  bridge.call(`/cameras/${camera}/alerts/disk/${action}`, {
    ...{ method, token: bridge.mint(permission) },
    ...(body === undefined ? {} : { body }),
  });
const notes = async (id = camera) => (await bridge.call(`/cameras/${id}`, { token: OPERATOR_KEY })).body.alert_notes;
const clear = () => bridge.say(`cameras/${camera}/alerts/disk`, Buffer.alloc(0), true);

describe("POST /cameras/{id}/alerts/{name}/acknowledge", () => {
  it("says who acknowledged the alert and when, to dashboards that watch and to those that come later", async () => {
    const watching = await connect(`ws://127.0.0.1:${bridge.port}/ws`, bridge.mint("alerts:read"));
    watching.send({ type: "subscribe", channel: "alerts" });
    await watching.next("subscription_result");
    const { status, body } = await change("acknowledge");
    expect([status, body]).toEqual([200, { alert: "disk", by: "user:alice", at: expect.stringMatching(/Z$/) }]);
    const isAcknowledged = ({ event, camera: of }: { event: string; camera?: string | undefined }) =>
      event === "alert.acknowledged" && of === camera;
    const live = await watching.next("dashboard_event", isAcknowledged);
    expect(live).toMatchObject({ camera, data: body, topic: `cameras/${camera}/alerts/disk/acknowledgement` });
    expect(await notes()).toEqual({ disk: { acknowledgement: body } });
    const later = await connect(`ws://127.0.0.1:${bridge.port}/ws`, bridge.mint("dashboard:read"));
    later.send({ type: "subscribe", channel: "dashboard" });
    expect(await later.next("dashboard_event", isAcknowledged)).toMatchObject({ snapshot: true, data: body });
    expect(auditText(dataPath)).toContain(`"action":"alert.acknowledge","who":"user:alice"`);
  });

  it("ends an acknowledgement that was written while another node cleared the alert", async () => {
    await clear();
    const topic = { kind: "camera-alert-note", camera, name: "disk", note: "acknowledgement" } as const;
    const name = topicTree().build(topic);
    const event = { alert: "disk", by: "user:alice", at: new Date().toISOString() };
    await bridge.journal.append({
      ...{ topic: name, channels: [`camera:${camera}`], camera, state: "set", publish: undefined },
      body: `"event":"alert.acknowledged","data":${JSON.stringify(event)},"timestamp":"${event.at}","topic":"${name}"`,
      origin: { sender: "backend", id: `late-${camera}`, session: undefined, seq: undefined },
    });
    await expect.poll(() => notes()).not.toHaveProperty("disk");
  });

  it("keeps the first acknowledgement, until the alert is cleared", async () => {
    const first = (await change("acknowledge")).body;
    expect((await change("acknowledge", undefined, { permission: "admin" })).body).toEqual(first);
    await clear();
    await expect.poll(() => notes()).toEqual({});
    expect((await change("acknowledge")).status).toBe(404);
  });

  it("is still known after a restart", async () => {
    const { body } = await change("acknowledge");
    await bridge.stop();
    await start();
    expect((await notes()).disk.acknowledgement).toEqual(body);
  });

  it("needs the permission to control this camera", async () => {
    for (const permission of ["dashboard:read", "alerts:read", "camera:other:control", `camera:${camera}:read`])
      expect((await change("acknowledge", undefined, { permission })).status).toBe(403);
    expect(await notes()).toEqual({});
  });

  it("has a limit for each camera", async () => {
    const names = Array.from({ length: MAX_ALERT_NOTES + 1 }, (_, index) => `a${index}`);
    for (const name of names) await bridge.say(`cameras/${camera}/alerts/${name}`, { ...DISK, alert: name }, true);
    const statuses: number[] = [];
    for (const name of names) {
      const path = `/cameras/${camera}/alerts/${name}/acknowledge`;
      statuses.push((await bridge.call(path, { method: "POST", token: OPERATOR_KEY })).status);
    }
    expect(statuses.filter((status) => status === 200)).toHaveLength(MAX_ALERT_NOTES);
    expect(statuses.at(-1)).toBe(409);
  });
});

describe("POST and DELETE /cameras/{id}/alerts/{name}/mute", () => {
  it("mutes for minutes or until a time, also after the alert is cleared", async () => {
    const { status, body } = await change("mute", { minutes: 60 });
    expect([status, body.by, Date.parse(body.until) - Date.parse(body.at)]).toEqual([200, "user:alice", 3_600_000]);
    await clear();
    const until = new Date(Date.now() + 7_200_000).toISOString();
    expect((await change("mute", { until })).body.until).toBe(until);
    expect((await notes()).disk.mute.until).toBe(until);
  });

  it("ends a mute, and says who ended it", async () => {
    expect((await change("mute", undefined, { method: "DELETE" })).status).toBe(404);
    await change("mute", { minutes: 60 });
    const watching = await connect(`ws://127.0.0.1:${bridge.port}/ws`, bridge.mint("alerts:read"));
    watching.send({ type: "subscribe", channel: "alerts" });
    await watching.next("subscription_result");
    expect((await change("mute", undefined, { method: "DELETE" })).status).toBe(204);
    const { data } = await watching.next("dashboard_event", ({ event }) => event === "alert.unmuted");
    expect(data).toMatchObject({ alert: "disk", by: "user:alice" });
    expect(Date.parse((await notes()).disk?.mute?.until ?? "1970-01-01T00:00:00Z")).toBeLessThanOrEqual(Date.now());
    expect((await change("mute", undefined, { method: "DELETE" })).status).toBe(404);
  });

  it.each([
    ["no end", {}],
    ["two ends", { minutes: 5, until: "2126-01-01T00:00:00Z" }],
    ["a time in the past", { until: "2020-01-01T00:00:00Z" }],
    ["more minutes than allowed", { minutes: MAX_MUTE_MINUTES + 1 }],
    ["a time too far away", { until: "2126-01-01T00:00:00Z" }],
  ])("refuses %s", async (_, body) => {
    const answer = await change("mute", body);
    expect([answer.status, answer.body.error.code]).toEqual([400, "bad_request"]);
    expect(await notes()).toEqual({});
  });

  it("refuses an alert that is not raised", async () => {
    await clear();
    expect((await change("mute", { minutes: 5 })).status).toBe(404);
  });
});

it("the alerts of a processing service are acknowledged and muted by admins, and name the camera of the alert", async () => {
  await bridge.say("processing/farm/alerts/worker-silent", { ...DISK, alert: "worker-silent", camera }, true);
  const call = (action: string, permission: string, body?: object) =>
    bridge.call(`/processing/farm/alerts/worker-silent/${action}`, {
      ...{ method: "POST", token: bridge.mint(permission) },
      ...(body === undefined ? {} : { body }),
    });
  expect((await call("acknowledge", "camera:control")).status).toBe(403);
  expect((await call("acknowledge", "admin")).body).toMatchObject({ alert: "worker-silent", camera });
  expect((await call("mute", "admin", { minutes: 1 })).status).toBe(200);
});
