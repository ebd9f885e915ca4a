import { ulid } from "ulid";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { FlushLog } from "../../../bridge/delivery/flush-log.ts";
import { EventTimesLog } from "../../../bridge/event-times.ts";
import { runCommand } from "../../support/skylapse-command.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";
import { connect, type TestClient } from "../websocket/client.ts";

interface Stage {
  stage: string;
  node?: string;
  at?: string;
  until?: string;
  count?: number;
  note?: string;
}

let bridge: TestBridge;

beforeAll(async () => {
  bridge = await startTestBridge({ env: { ARCHIVE: "on", MAX_REQUESTS_PER_MINUTE: "0" } });
});
afterAll(() => bridge.stop());

const trace = (id: string, ...permissions: string[]) =>
  bridge.call(`/events/${id}/trace`, { token: permissions.length === 0 ? OPERATOR_KEY : bridge.mint(...permissions) });
const stagesOf = async (id: string): Promise<Stage[]> => (await trace(id)).body.stages;
const stageOf = async (id: string, name: string) => (await stagesOf(id)).find(({ stage }) => stage === name);

/** A dashboard that has caught up with its channel, so that the next event comes live. */
async function openDashboard(channel = "dashboard"): Promise<TestClient> {
  const dashboard = await connect(`ws://127.0.0.1:${bridge.port}/ws`, bridge.mint("admin"));
  dashboard.send({ type: "subscribe", channel });
  await dashboard.next("caught_up");
  return dashboard;
}

/** A picture that the camera took 3 s ago and reported 2 s ago. */
async function capture({ id = ulid(), camera = "north" } = {}): Promise<string> {
  const now = Date.now();
  const timestamp = new Date(now - 2_000).toISOString();
  const data = { capture: ulid(now - 3_000).toLowerCase(), width: 4, height: 3, size_bytes: 9 };
  await bridge.say(`cameras/${camera}/events/capture.completed`, {
    ...{ v: 1, id, timestamp, event: "capture.completed", data },
  });
  return id;
}

describe("the trace of an event", () => {
  it("has every stage with its time, in order, and the number of dashboards", async () => {
    const [first, second] = [await openDashboard(), await openDashboard("camera:north")];
    await openDashboard("camera:south");
    const id = await capture();
    await Promise.all([first.next("dashboard_event"), second.next("dashboard_event")]);
    await vi.waitFor(async () => expect((await stageOf(id, "archived"))?.at).toBeDefined());
    const { status, body } = await trace(id);
    expect(status).toBe(200);
    expect(body).toMatchObject({
      ...{ id, event: "capture.completed", kind: "event", camera: "north", epoch: bridge.journal.epoch },
      ...{ topic: "cameras/north/events/capture.completed", channels: ["camera:north", "dashboard"] },
    });
    const stages: Stage[] = body.stages;
    const names = ["captured", "sent", "received", "accepted", "durable", "dashboards", "archived"];
    expect(stages.map(({ stage }) => stage)).toEqual(names);
    const times = stages.filter(({ stage }) => stage !== "dashboards").map(({ at }) => Date.parse(at ?? ""));
    expect(times).toEqual(times.toSorted((one, other) => one - other));
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBe(1_000);
    expect(await stageOf(id, "dashboards")).toEqual({
      ...{ stage: "dashboards", node: bridge.cluster.nodeId, count: 2 },
      ...{ at: expect.stringMatching(/Z$/), until: expect.stringMatching(/Z$/) },
    });
    expect((await stageOf(id, "archived"))?.note).toMatch(/^row \d+$/);
  });

  it("is printed by skylapse trace, in local and in relative times", async () => {
    const id = await capture();
    const variables = { SKYLAPSE_URL: `http://127.0.0.1:${bridge.port}`, OPERATOR_KEY };
    const { code, output } = await runCommand(variables, ["trace", id]);
    expect(code).toBe(0);
    const [head, channels, ...rows] = output.split("\n");
    expect(head).toMatch(/^capture\.completed of north: position \d+ of epoch /);
    expect(channels).toBe("channels: camera:north, dashboard");
    expect(rows[0]).toMatch(
      /^captured {4}\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} {2}-\d+(\.\d)? m?s +by the clock of the sender$/,
    );
    expect(rows[2]).toMatch(/^received {4}\S+ \S+ {2}\+\d\.\d s$/);
    expect(rows.at(-1)).toMatch(/^archived/);
  });
});

describe("an event without a complete trace", () => {
  it("is named in the answer if it is unknown", async () => {
    const { status, body } = await trace("no-such-event");
    expect([status, body.error]).toEqual([
      404,
      { code: "not_found", message: 'There is no event with the id "no-such-event" that this token may read' },
    ]);
    expect((await trace("a%20b")).status).toBe(400);
  });

  it("is said to be removed when its ULID is older than all kept events", async () => {
    const kept = await capture();
    await vi.waitFor(async () => expect((await stageOf(kept, "archived"))?.note).toMatch(/row/));
    const { body } = await trace(ulid(Date.UTC(2026, 0, 1)));
    expect(body.error.message).toMatch(
      /The id is of 2026-01-01T00:00:00\.000Z, and the oldest event is of \d{4}-.*: retention has removed the event, or it never came$/,
    );
  });

  it("is shown from the archive after retention has removed it from the journal", async () => {
    const small = await startTestBridge({ env: { ARCHIVE: "on", RETENTION_EVENTS: "10" } });
    onTestFinished(() => small.stop());
    const timestamp = new Date().toISOString();
    for (let n = 0; n < 12; n++)
      await small.say("cameras/north/events/tick", { v: 1, id: `t${n}`, timestamp, event: "tick" });
    const stats = () => small.call("/stats", { token: OPERATOR_KEY });
    await vi.waitFor(async () => expect((await stats()).body.node.archive).toMatchObject({ behind: 0 }));
    await small.journal.trim();
    const notes = async (id: string) =>
      (await small.call(`/events/${id}/trace`, { token: OPERATOR_KEY })).body.stages.map(({ note }: Stage) => note);
    const removed = expect.stringMatching(/^position \d+, removed from the journal by retention since$/);
    expect(await notes("t0")).toEqual(expect.arrayContaining([removed, expect.stringMatching(/^row \d+$/)]));
    expect(await notes("t11")).not.toEqual(expect.arrayContaining([removed]));
  });

  it("is not shown to a token that may not read it", async () => {
    const id = await capture({ camera: "south" });
    for (const permissions of [
      ["system:read", "camera:south:read"],
      ["system:read", "dashboard:read"],
    ])
      expect((await trace(id, ...permissions)).status).toBe(200);
    for (const permissions of [
      ["system:read"],
      ["system:read", "dashboard:read", "camera:north:read"],
      ["system:read", "camera:south:control"],
    ])
      expect((await trace(id, ...permissions)).status).toBe(404);
    expect((await trace(id, "dashboard:read")).status).toBe(403);
    expect((await bridge.call(`/events/${id}/trace`)).status).toBe(401);
  });

  it("is searched in the journal while the archive is off, and the answer says so", async () => {
    const other = await startTestBridge();
    onTestFinished(() => other.stop());
    await other.say("cameras/north/events/tick", {
      v: 1,
      id: "t1",
      timestamp: new Date().toISOString(),
      event: "tick",
    });
    const { body } = await other.call("/events/t1/trace", { token: OPERATOR_KEY });
    expect(body.stages.at(-1)).toEqual({ stage: "archived", note: "the archive is off: set ARCHIVE=on" });
    const unknown = await other.call("/events/t2/trace", { token: OPERATOR_KEY });
    expect(unknown.body.error.message).toMatch(
      /\. The archive is off \(set ARCHIVE=on\), so only the newest 20000 events/,
    );
  });
});

describe("a node", () => {
  const filter = { key: "dashboard", channels: new Set(["dashboard"]), onlyCameras: undefined };
  const entryAt = (position: number) => ({ position, channels: ["dashboard"], camera: undefined });

  it("keeps its newest flushes, and knows which flushes it has forgotten", () => {
    const log = new FlushLog(5);
    for (let after = 5; after < 20_005; after++)
      log.add({ filter, after, until: after + 1, sockets: 2, startedAt: after, endedAt: after + 0.5 });
    expect(log.deliveryOf(entryAt(5))).toBeUndefined();
    expect(log.deliveryOf(entryAt(10_005))).toBeUndefined();
    expect(log.deliveryOf(entryAt(10_006))).toEqual({ sockets: 2, firstAt: 10_005, lastAt: 10_005.5 });
    expect(log.deliveryOf({ ...entryAt(20_005), channels: ["jobs"] })?.sockets).toBe(0);
    expect(log.deliveryOf(entryAt(20_006))?.sockets).toBe(0);
  });

  it("keeps fewer flushes if their filters are large", () => {
    const log = new FlushLog(0);
    const large = { ...filter, channels: new Set(Array.from({ length: 50_000 }, (_, n) => `camera:c${n}`)) };
    for (let after = 0; after < 3; after++)
      log.add({ filter: large, after, until: after + 1, sockets: 1, startedAt: 0, endedAt: 1 });
    expect(log.deliveryOf({ ...entryAt(1), channels: ["camera:c1"] })).toBeUndefined();
    expect(log.deliveryOf({ ...entryAt(2), channels: ["camera:c1"] })?.sockets).toBe(1);
  });

  it("keeps the times of an event until another event takes their place", () => {
    const log = new EventTimesLog();
    log.noteDurable(7, 1, 2);
    expect(log.of(7)).toEqual({ receivedAt: 1, durableAt: 2 });
    log.noteDurable(7 + 32_768, 3, 4);
    expect([log.of(7), log.of(7 + 32_768)]).toEqual([undefined, { receivedAt: 3, durableAt: 4 }]);
    log.clear();
    expect(log.of(7 + 32_768)).toBeUndefined();
  });
});
