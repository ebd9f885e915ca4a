import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { DashboardEvent } from "../../../contract/socket-messages.ts";
import { MAX_ENDED_ALERTS } from "../../../dashboard-client/state/alert-state.ts";
import {
  applyEvent,
  applyGap,
  type DashboardState,
  EMPTY_STATE,
  MAX_ENDED_JOBS,
  MAX_EVENTS,
  MAX_METRIC_POINTS,
  snapshotCompleted,
  snapshotStarted,
} from "../../../dashboard-client/state/dashboard-state.ts";

let position = 0;

function event(fields: Partial<DashboardEvent>): DashboardEvent {
  position++;
  return {
    type: "dashboard_event",
    event: "state.updated",
    data: {},
    timestamp: new Date(Date.UTC(2026, 2, 1) + position * 1000).toISOString(),
    channel: "dashboard",
    position,
    ...fields,
  };
}

function stateAfter(...events: DashboardEvent[]): DashboardState {
  return events.reduce(applyEvent, EMPTY_STATE);
}

const presence = (camera: string, status: string, fields: Partial<DashboardEvent> = {}): DashboardEvent =>
  event({
    ...{ event: `camera.${status}`, camera, topic: `cameras/${camera}/state/presence` },
    ...{ data: { status, since: "2026-03-01T06:00:00.000Z" }, ...fields },
  });
const capture = (id: string, fields: Partial<DashboardEvent> = {}): DashboardEvent =>
  event({
    ...{ event: "capture.completed", camera: "north", topic: "cameras/north/events/capture.completed" },
    ...{ data: { capture: id, width: 4, height: 3, size_bytes: 10 }, ...fields },
  });
const preview = (id: string, fields: Partial<DashboardEvent> = {}): DashboardEvent =>
  event({
    ...{ event: "preview.updated", camera: "north", topic: `cameras/north/previews/${id}` },
    ...{ data: { capture: id, url: "/x", etag: `"${id}"`, size_bytes: 10 }, ...fields },
  });
const job = (status: string, progress: number, name = "j1"): DashboardEvent =>
  event({
    ...{ event: "job.progress", topic: `processing/farm/jobs/${name}` },
    data: { job: name, type: "timelapse_assembly", status, progress },
  });
const topicsOf = ({ retained }: DashboardState): string[] =>
  [...retained.owners()].flatMap(([, events]) => [...events.keys()]);
const cleared = (topic: string): DashboardEvent => event({ event: "state.cleared", topic, data: null });

import { MAX_OWNERS, MAX_TOPICS_PER_OWNER } from "../../../dashboard-client/state/retained-events.ts";

describe("a camera", () => {
  it("consists of its retained topics, each with the time of its event", () => {
    const about = {
      ...{ model: "m", firmware: "f", name: "North face", capture_interval_s: 10 },
      location: { lat: 46, lon: 8, timezone: "Europe/Zurich" },
    };
    const state = stateAfter(
      event({ event: "camera.about", camera: "north", topic: "cameras/north/about", data: about }),
      presence("north", "online"),
      event({ camera: "north", topic: "cameras/north/state/storage", data: { total_bytes: 10, free_bytes: 4 } }),
      event({ camera: "north", topic: "cameras/north/state/power", data: { source: "solar", battery_percent: 80 } }),
      event({ camera: "north", topic: "cameras/north/state/invented", data: { a: 1 } }),
    );
    expect(state.cameras.get("north")).toMatchObject({
      id: "north",
      about: { value: { name: "North face" } },
      presence: { value: { status: "online" }, at: expect.stringMatching(/Z$/) },
      storage: { value: { free_bytes: 4 } },
      power: { value: { battery_percent: 80 } },
    });
    expect(topicsOf(state)).toHaveLength(5);
  });

  it("has the gaps that the backend lists, and shows dropped events once", () => {
    const gap = { reason: "dropped", count: 12, from: "2026-03-01T02:10:00.000Z", to: "2026-03-01T02:25:00.000Z" };
    const of = { camera: "north" };
    const state = stateAfter(
      event({ ...of, event: "outbox.dropped", topic: "cameras/north/events/outbox.dropped", data: gap }),
      event({ ...of, event: "link.gap", topic: "cameras/north/events/link.gap", data: gap }),
      event({ ...of, topic: "cameras/north/state/gaps", data: { gaps: [gap] } }),
    );
    expect(state.cameras.get("north")?.gaps?.value.gaps).toEqual([gap]);
    expect(state.activity).toMatchObject([{ event: { event: "link.gap" } }]);
  });

  it("takes the time of its picture from the capture event, or else from the picture's name", () => {
    const taken = "2026-02-28T23:00:00.000Z";
    const named = preview("b", { data: { capture: "b", url: "/x", etag: '"b"', size_bytes: 1, taken_at: taken } });
    expect(stateAfter(named).cameras.get("north")?.pictureTaken).toEqual({ etag: '"b"', at: taken });
    const completed = capture("b");
    const both = stateAfter(completed, { ...named, timestamp: completed.timestamp }, capture("c"));
    expect(both.cameras.get("north")?.pictureTaken).toEqual({ etag: '"b"', at: completed.timestamp });
  });

  it("does not contain cleared or invalid states", () => {
    const storage = { camera: "north", topic: "cameras/north/state/storage" };
    const good = event({ ...storage, data: { total_bytes: 10, free_bytes: 4 } });
    expect(stateAfter(good, event({ ...storage, data: null })).cameras.get("north")?.storage).toBeUndefined();
    expect(
      stateAfter(good, event({ ...storage, data: { total_bytes: "ten" } })).cameras.get("north")?.storage,
    ).toBeUndefined();
  });

  it("is removed with its pictures once all its retained topics are cleared", () => {
    const state = stateAfter(
      presence("north", "online"),
      capture("c1"),
      preview("c1"),
      presence("south", "online"),
      cleared("cameras/north/state/presence"),
    );
    expect([...state.cameras.keys()]).toEqual(["south"]);
    expect([...state.latest.keys()]).toEqual([]);
  });

  it("shows the last capture to arrive, even if an earlier capture has a time five hours ahead", () => {
    const ahead = capture("c1", { timestamp: "2026-03-02T05:00:00.000Z", position: 7 });
    const next = capture("c2", { timestamp: "2026-03-02T00:00:30.000Z", position: 8 });
    expect(stateAfter(ahead, next).cameras.get("north")?.lastCapture?.value.capture).toBe("c2");
  });

  it("shows a capture of a new epoch, whose positions start again", () => {
    const before = capture("c1", { timestamp: "2026-03-02T00:00:00.000Z", position: 900 });
    const after = capture("c2", { timestamp: "2026-03-02T00:01:00.000Z", position: 3 });
    expect(stateAfter(before, after).cameras.get("north")?.lastCapture?.value.capture).toBe("c2");
  });

  it("ignores a capture from a backlog, and a capture that is sent again", () => {
    const newest = capture("c9", { timestamp: "2026-03-02T00:00:00.000Z", position: 9 });
    const late = capture("c8", { timestamp: "2026-03-01T00:00:00.000Z", position: 8 });
    const historical = capture("c7", { timestamp: "2026-03-03T00:00:00.000Z", historical: true });
    const state = stateAfter(newest, late, historical);
    expect(state.cameras.get("north")?.lastCapture?.value.capture).toBe("c9");
    expect(state.events).toHaveLength(3);
  });

  it("has the time of a picture once its capture and its preview have arrived, in either order", () => {
    const taken = capture("c1");
    expect(stateAfter(taken, preview("c1")).cameras.get("north")?.pictureTaken).toEqual({
      etag: '"c1"',
      at: taken.timestamp,
    });
    expect(stateAfter(preview("c1"), taken).cameras.get("north")?.pictureTaken).toEqual({
      etag: '"c1"',
      at: taken.timestamp,
    });
    expect(stateAfter(taken, preview("c1"), capture("c2")).cameras.get("north")?.pictureTaken?.etag).toBe('"c1"');
  });

  it("can have the name of an inherited property", () => {
    const state = stateAfter(presence("constructor", "online"), presence("tostring", "offline"));
    expect([...state.cameras.keys()]).toEqual(["constructor", "tostring"]);
    expect(EMPTY_STATE.cameras.size).toBe(0);
  });

  it("keeps its state when late events of a backlog arrive", () => {
    const state = stateAfter(presence("north", "offline"), presence("north", "online", { historical: true }));
    expect(state.cameras.get("north")?.presence?.value.status).toBe("offline");
  });
});

describe("the state of jobs, alerts and the system", () => {
  it("keeps an ended job after its removal, marked as cleared, but drops a running job that its service removes", () => {
    const topic = "processing/farm/jobs/j1";
    expect(stateAfter(job("processing", 40)).jobs.get("farm/j1")).toMatchObject({
      progress: 40,
      service: "farm",
      cleared: false,
    });
    expect(stateAfter(job("completed", 100), cleared(topic)).jobs.get("farm/j1")).toMatchObject({ cleared: true });
    expect(stateAfter(job("processing", 40), cleared(topic)).jobs.size).toBe(0);
    expect(stateAfter(job("completed", 100), cleared(topic), job("queued", 0)).jobs.get("farm/j1")).toMatchObject({
      ...{ status: "queued", cleared: false },
    });
  });

  it("keeps no more cleared jobs than the limit", () => {
    const names = Array.from({ length: MAX_ENDED_JOBS + 5 }, (_, index) => `j${index}`);
    const state = stateAfter(
      ...names.flatMap((name) => [job("completed", 100, name), cleared(`processing/farm/jobs/${name}`)]),
    );
    expect(state.jobs.size).toBe(MAX_ENDED_JOBS);
    expect(state.jobs.has(`farm/${names.at(-1)}`)).toBe(true);
  });

  it("keeps the start of an alert until the alert is cleared", () => {
    const topic = "cameras/north/alerts/storage";
    const raised = (message: string): DashboardEvent =>
      event({
        event: "alert.raised",
        camera: "north",
        topic,
        data: { alert: "storage", severity: "warning", message },
      });
    const first = raised("80 %");
    const state = stateAfter(first, raised("90 %"));
    expect(state.alerts.get("north/storage")).toMatchObject({
      message: "90 %",
      since: first.timestamp,
      camera: "north",
    });
    expect(applyEvent(state, event({ event: "alert.cleared", topic, data: null })).alerts.size).toBe(0);
  });

  it("keeps an ended alert with its start and end, but without an entry for its camera", () => {
    const topic = "cameras/north/alerts/disk";
    const raised = event({
      event: "alert.raised",
      camera: "north",
      topic,
      data: { alert: "disk", severity: "warning", message: "full" },
    });
    // The backend sends the end of an alert with the name of the alert.
    const over = event({ event: "alert.cleared", camera: "north", topic, data: { alert: "disk" } });
    const state = stateAfter(raised, over);
    expect([state.alerts.size, topicsOf(state).length, state.cameras.size]).toEqual([0, 0, 0]);
    expect(state.endedAlerts).toMatchObject([
      { alert: "disk", camera: "north", since: raised.timestamp, until: over.timestamp },
    ]);
    // A snapshot without the alert does not say when the alert ended.
    const after = snapshotCompleted(snapshotStarted(stateAfter(raised)));
    expect([after.alerts.size, after.endedAlerts]).toEqual([0, []]);
    let many = EMPTY_STATE;
    for (let n = 0; n < MAX_ENDED_ALERTS + 5; n++) many = applyEvent(applyEvent(many, raised), over);
    expect(many.endedAlerts).toHaveLength(MAX_ENDED_ALERTS);
  });

  it("knows who acknowledged and muted an alert, and forgets the acknowledgement with the alert", () => {
    const topic = "cameras/north/alerts/disk";
    const data = { alert: "disk", by: "user:alice", at: "2026-03-01T06:30:00.000Z" };
    const mute = { ...data, until: "2026-03-01T07:30:00.000Z" };
    const raised = event({
      ...{ event: "alert.raised", camera: "north", topic },
      data: { alert: "disk", severity: "warning", message: "full" },
    });
    const notes = [
      event({ event: "alert.acknowledged", camera: "north", topic: `${topic}/acknowledgement`, data }),
      event({ event: "alert.muted", camera: "north", topic: `${topic}/mute`, data: mute }),
    ];
    // A snapshot may name the notes before the alert.
    const state = stateAfter(...notes, raised);
    expect(state.alertNotes.get("north/disk")).toEqual({ acknowledgement: data, mute });
    const over = applyEvent(state, event({ event: "alert.cleared", camera: "north", topic, data: { alert: "disk" } }));
    expect([...over.alertNotes]).toEqual([["north/disk", { mute }]]);
    const unmuted = event({ event: "state.cleared", camera: "north", topic: `${topic}/mute`, data: null });
    expect(applyEvent(over, unmuted).alertNotes.size).toBe(0);
  });

  it("distinguishes a service's alert from a camera's alert of the same name", () => {
    const data = { alert: "job-queue", severity: "warning", message: "11 jobs wait" };
    const state = stateAfter(event({ event: "alert.raised", topic: "processing/farm/alerts/job-queue", data }));
    expect([...state.alerts]).toMatchObject([["service:farm/job-queue", { service: "farm", message: "11 jobs wait" }]]);
    expect(state.cameras.size).toBe(0);
  });

  it("adds one point to the metrics for each measurement, up to the limit, and ignores a repeated measurement", () => {
    const measured = (cpu: number): DashboardEvent =>
      event({ event: "resource.update", topic: "system/resources", data: { cpu_percent: cpu, memory_bytes: 5 } });
    const points = Array.from({ length: MAX_METRIC_POINTS + 10 }, (_, index) => measured(index % 100));
    const last = points.at(-1) ?? measured(0);
    const state = stateAfter(...points, { ...last, snapshot: true });
    expect(state.metrics).toHaveLength(MAX_METRIC_POINTS);
    expect(state.metrics.at(-1)?.at).toBe(last.timestamp);
    expect(state.system.resources?.value.cpu_percent).toBe(state.metrics.at(-1)?.cpu_percent);
  });
});

describe("the event lists", () => {
  it("contain the last events, newest first, and the activity leaves out routine events", () => {
    const routine = event({ event: "resource.update", topic: "system/resources" });
    const state = stateAfter(...Array.from({ length: MAX_EVENTS + 20 }, () => capture("c1")), routine);
    expect(state.events).toHaveLength(MAX_EVENTS);
    expect(state.events[0]).toBe(routine);
    expect(state.activity).toHaveLength(MAX_EVENTS);
    expect(state.activity.some((item) => item.kind === "event" && item.event === routine)).toBe(false);
  });

  it("show a broadcast even if its event has a routine name", () => {
    const broadcast = event({ event: "system.status", topic: "channels/dashboard/events/system.status" });
    expect(stateAfter(broadcast).activity).toEqual([{ kind: "event", event: broadcast }]);
  });

  it("contain a schedule after a command, and not after a restart, a reconnect or a repetition", () => {
    const entry = { kind: "clock", start: "06:00", end: "09:00", interval_s: 60 };
    const report = (data: object) =>
      event({ event: "schedule.updated", camera: "north", topic: "cameras/north/state/schedule", data });
    const shown = (...reports: object[]) => stateAfter(...reports.map(report)).activity.length;
    const command = { kind: "command", command_id: "1", by: "user:op" };
    expect(shown({ entries: [], cause: { kind: "restart" } }, { entries: [entry], cause: { kind: "reconnect" } })).toBe(
      0,
    );
    expect(shown({ entries: [entry], cause: command })).toBe(1);
    // Older cameras name no cause.
    expect(shown({ entries: [] }, { entries: [] })).toBe(0);
    expect(shown({ entries: [] }, { entries: [entry] }, { entries: [entry] })).toBe(1);
  });

  it("do not include a snapshot or a backlog as new events, and a backlog does not change the last update", () => {
    const live = capture("c1", { timestamp: "2026-03-05T00:00:00.000Z" });
    const state = stateAfter(
      live,
      capture("c2", { historical: true, timestamp: "2026-03-06T00:00:00.000Z" }),
      presence("north", "online", { snapshot: true }),
    );
    expect(state.newEvents).toBe(1);
    expect(state.events).toHaveLength(2);
    expect(state.lastEventAt).toBe("2026-03-05T00:00:00.000Z");
  });

  it("contain a separate line where events may be missing", () => {
    const gap = { channel: "dashboard", reason: "trimmed", after: 1, before: 9, at: 5 } as const;
    const state = applyEvent(applyGap(stateAfter(capture("c1")), gap), capture("c2"));
    expect(state.activity.map(({ kind }) => kind)).toEqual(["event", "gap", "event"]);
    expect(state.gap).toEqual(gap);
  });
});

describe("a snapshot on top of an existing state", () => {
  it("replaces the state gradually, and removes outdated entries once the snapshot is complete", () => {
    const alert = event({
      ...{ event: "alert.raised", camera: "north", topic: "cameras/north/alerts/storage" },
      data: { alert: "storage", severity: "info", message: "full" },
    });
    let state = stateAfter(
      presence("north", "online"),
      presence("south", "online"),
      alert,
      job("processing", 5),
      capture("c1"),
    );
    state = snapshotStarted(state);
    state = applyEvent(state, presence("north", "offline", { snapshot: true }));
    expect([...state.cameras.keys()]).toEqual(["north", "south"]);
    state = snapshotCompleted(state);
    expect([...state.cameras.keys()]).toEqual(["north"]);
    expect(state.cameras.get("north")).toMatchObject({
      presence: { value: { status: "offline" } },
      lastCapture: { value: { capture: "c1" } },
    });
    expect(state.alerts.size).toBe(0);
    expect(state.jobs.size).toBe(0);
    expect(topicsOf(state)).toHaveLength(1);
    expect(state.events).toHaveLength(5);
  });

  const name = fc.constantFrom("north", "south", "west");
  const retained = fc.record({
    camera: name,
    topic: fc.constantFrom("state/presence", "state/storage", "alerts/a"),
    set: fc.boolean(),
  });
  const toEvent = ({ camera, topic, set }: { camera: string; topic: string; set: boolean }): DashboardEvent =>
    event({
      ...{ camera, topic: `cameras/${camera}/${topic}` },
      data: set
        ? {
            status: "online",
            since: "2026-03-01T06:00:00.000Z",
            total_bytes: 9,
            free_bytes: 1,
            ...{ alert: "a", severity: "info", message: "m" },
          }
        : null,
    });

  it("results in the same state, whatever the previous state was", () => {
    fc.assert(
      fc.property(fc.array(retained), fc.array(retained), (before, snapshot) => {
        const events = snapshot.filter(({ set }) => set).map((each) => ({ ...toEvent(each), snapshot: true }));
        const taken = (start: DashboardState): DashboardState =>
          snapshotCompleted(events.reduce(applyEvent, snapshotStarted(start)));
        const [over, fresh] = [taken(stateAfter(...before.map(toEvent))), taken(EMPTY_STATE)];
        expect(new Map([...over.cameras].sort())).toEqual(new Map([...fresh.cameras].sort()));
        expect([...over.alerts.keys()].sort()).toEqual([...fresh.alerts.keys()].sort());
        expect(topicsOf(over).sort()).toEqual(topicsOf(fresh).sort());
      }),
    );
  });

  it("leaves the previous state unchanged", () => {
    fc.assert(
      fc.property(fc.array(retained), (changes) => {
        let state = EMPTY_STATE;
        for (const change of changes) {
          const copy = structuredClone(state);
          const next = applyEvent(state, toEvent(change));
          expect(state).toEqual(copy);
          state = next;
        }
      }),
      { numRuns: 30 },
    );
  });
});

describe("the limits of the state", () => {
  it("apply to each camera: a camera with thousands of states displaces only its own states that the page does not show", () => {
    let state = stateAfter(presence("quiet", "online"), presence("loud", "online"));
    for (let index = 0; index < 2 * MAX_TOPICS_PER_OWNER; index++)
      state = applyEvent(state, event({ topic: `cameras/loud/state/s${index}`, camera: "loud" }));
    expect(topicsOf(state).filter((topic) => topic.startsWith("cameras/loud/"))).toHaveLength(MAX_TOPICS_PER_OWNER);
    expect(state.leftOut).toBe(MAX_TOPICS_PER_OWNER + 1);
    for (const camera of ["quiet", "loud"]) expect(state.cameras.get(camera)?.presence?.value.status).toBe("online");
  });

  it("allow 600 cameras with ten states each", () => {
    let state = snapshotStarted(EMPTY_STATE);
    for (let camera = 0; camera < 600; camera++) {
      state = applyEvent(state, presence(`c${camera}`, "online", { snapshot: true }));
      for (let index = 0; index < 9; index++)
        state = applyEvent(
          state,
          event({ topic: `cameras/c${camera}/state/s${index}`, camera: `c${camera}`, snapshot: true }),
        );
    }
    state = snapshotCompleted(state);
    expect([state.cameras.size, state.leftOut]).toEqual([600, 0]);
  });

  it("exclude further cameras and count the topics of these cameras", () => {
    let state = EMPTY_STATE;
    for (let camera = 0; camera < MAX_OWNERS + 3; camera++) state = applyEvent(state, presence(`c${camera}`, "online"));
    expect([state.cameras.size, state.leftOut]).toEqual([MAX_OWNERS, 3]);
  });

  it("hold for events with any name, topic and data", () => {
    fc.assert(
      fc.property(fc.string(), fc.option(fc.string(), { nil: undefined }), fc.jsonValue(), (name, topic, data) => {
        const strange = event({ event: name, data, ...(topic === undefined ? {} : { topic }) });
        expect(applyEvent(EMPTY_STATE, strange).events).toEqual([strange]);
      }),
    );
  });
});
