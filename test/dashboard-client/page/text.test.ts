import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { commandStatusSchema, FINAL_COMMAND_STATUSES } from "../../../contract/commands.ts";
import { EVENTS } from "../../../contract/events.ts";
import type { DashboardEvent } from "../../../contract/socket-messages.ts";
import {
  NotConnectedError,
  OutcomeUnknownError,
  RequestRefusedError,
} from "../../../dashboard-client/client/errors.ts";
import { setPreference } from "../../../dashboard-client/page/preferences.ts";
import { cameraStatus, pictureTime } from "../../../dashboard-client/page/text/camera-status.ts";
import {
  captureFailure,
  captureProgress,
  captureRequested,
} from "../../../dashboard-client/page/text/command-status.ts";
import { eventText } from "../../../dashboard-client/page/text/event-text.ts";
import type { CameraState } from "../../../dashboard-client/state/camera-state.ts";

// The expected times are those of the camera's time zone.
beforeAll(() => setPreference("clock", "camera"));
afterAll(() => setPreference("clock", "viewer"));

const NOW = Date.parse("2026-03-12T13:10:00.000Z");
const about = {
  at: "2026-03-12T13:00:00.000Z",
  value: {
    model: "m",
    firmware: "f",
    capture_interval_s: 10,
    location: { lat: 46, lon: 8, timezone: "Europe/Zurich" },
  },
};

function camera(status?: "online" | "offline" | "sleeping" | "stale" | "unknown", until?: string): CameraState {
  if (status === undefined) return { id: "north", about };
  const value = { status, since: "2026-03-12T11:05:00.000Z", ...(until === undefined ? {} : { until }) };
  return { id: "north", about, presence: { at: "2026-03-12T11:05:00.000Z", value } };
}

describe("the status of a camera", () => {
  it.each([
    [camera("online"), { label: "Online", detail: "since 12:05 CET", tone: "good" }],
    [camera("offline"), { label: "Offline", detail: "since 12:05 CET · 2 h 05 min", tone: "bad" }],
    [camera("sleeping", "2026-03-13T04:40:00.000Z"), { label: "Sleeping until 13 Mar, 05:40 CET", tone: "rest" }],
    [camera("sleeping"), { label: "Sleeping", tone: "rest" }],
    [camera("stale"), { label: "No new pictures", tone: "warn" }],
    [camera("unknown"), { label: "Unknown", tone: "quiet" }],
    [camera(), { label: "Unknown", detail: "no message yet", tone: "quiet" }],
  ])("is described in words (case %#)", (state, words) => expect(cameraStatus(state, true, NOW)).toMatchObject(words));

  it("is the last known status if there is no connection", () => {
    expect(cameraStatus(camera("online"), false, NOW)).toEqual({
      ...{ label: "Last known: online", detail: "since 12:05 CET", tone: "quiet" },
    });
  });

  it("shows a known time of capture only with the matching picture", () => {
    const state: CameraState = { ...camera("online"), pictureTaken: { etag: '"a"', at: "2026-03-12T13:09:30.000Z" } };
    const receivedAt = NOW - 10_000;
    expect(pictureTime(state, { etag: '"a"', takenAt: undefined, receivedAt }, NOW)).toEqual({
      text: "Taken 14:09:30 CET",
      age: "30 s ago",
    });
    expect(pictureTime(state, { etag: '"b"', takenAt: undefined, receivedAt }, NOW)).toEqual({
      text: "Received 14:09:50 CET",
      age: "10 s ago",
    });
    expect(pictureTime(state, { etag: '"b"', takenAt: undefined, receivedAt: undefined }, NOW)).toBeUndefined();
    expect(pictureTime(state, undefined, NOW)).toBeUndefined();
    const named = { etag: '"b"', takenAt: "2026-03-12T12:10:00.000Z", receivedAt };
    expect(pictureTime(state, named, NOW)).toEqual({ text: "Taken 13:10:00 CET", age: "1 h 00 min ago" });
  });
});

describe("the progress of a command", () => {
  it("is busy until the outcome is known, and good only if the command succeeded", () => {
    for (const status of commandStatusSchema.options) {
      const { tone } = captureProgress({
        status,
        commandId: "1",
        result: undefined,
        error: undefined,
        code: undefined,
      });
      expect(tone).toBe(!FINAL_COMMAND_STATUSES.has(status) ? "busy" : status === "succeeded" ? "good" : "bad");
    }
  });

  it("says that a command for a sleeping camera waits", () => {
    expect(captureRequested("online").text).toBe("Sending…");
    expect(captureRequested("sleeping")).toEqual({ text: "Waiting for the camera to wake up…", tone: "busy" });
  });

  it("says that the camera is offline, and whether the camera or the server refused the command", () => {
    const result = { commandId: "1", result: undefined, error: "why" };
    expect(captureProgress({ ...result, status: "failed", code: 120 }).text).toContain("offline");
    expect(captureProgress({ ...result, status: "rejected", code: 122 }).text).toBe("The camera refused · why");
    expect(captureProgress({ ...result, status: "rejected", code: 107 }).text).toBe("Not sent · why");
  });

  it("claims no outcome for a command without an answer", () => {
    const result = { commandId: "1", result: undefined, error: "why", code: undefined };
    expect(captureProgress({ ...result, status: "expired" }).text).toBe("Expired · why");
    expect(captureProgress({ ...result, status: "unknown" }).text).toBe("The camera may have taken the picture · why");
    expect(captureProgress({ ...result, status: "timed_out" }).text).toMatch(/^No answer · why · the camera may still/);
  });

  it("distinguishes an unsent command from a command with an unknown outcome", () => {
    expect(captureFailure(new NotConnectedError()).text).toContain("was not sent");
    expect(captureFailure(new OutcomeUnknownError("x")).text).toContain("may still");
    expect(captureFailure(new RequestRefusedError("x", 103)).text).toContain("no permission");
    expect(captureFailure(new Error("x")).text).toBe("x");
    expect(captureFailure("x").text).toBe("Failed");
  });
});

describe("an event in words", () => {
  const event = (name: string, data: unknown): DashboardEvent => ({
    ...{
      type: "dashboard_event",
      event: name,
      data,
      timestamp: "2026-03-12T13:00:00.000Z",
      channel: "dashboard",
      position: 1,
    },
  });

  it("exists for every event of this system", () => {
    for (const name of EVENTS.filter((each) => !each.startsWith("state.")))
      expect(eventText(event(name, {})).title).not.toBe(name);
  });

  it.each([
    [
      "capture.completed",
      { capture: "c", width: 4656, height: 3496, size_bytes: 5_213_000 },
      "Picture taken",
      "4656 × 3496 · 5.2 MB",
    ],
    ["capture.failed", { error: "lens cap", failures: 2 }, "Picture failed", "lens cap"],
    [
      "job.completed",
      { job: "j", type: "timelapse_assembly", status: "completed", progress: 100, outputs: ["4k"] },
      "Timelapse finished",
      "4k",
    ],
    [
      "job.failed",
      { job: "j", type: "image_processing", status: "failed", progress: 10, error: "disk" },
      "Images failed",
      "disk",
    ],
    ["alert.raised", { alert: "a", severity: "critical", message: "Disk is full" }, "Disk is full", ""],
    ["alert.cleared", { alert: "no-capture" }, "Ended: no new pictures", ""],
    ["alert.cleared", { alert: "lens-fogged" }, "Ended: lens fogged", ""],
    ["alert.cleared", null, "Alert ended", ""],
    ["lab.reading", { depth_cm: 41, deep: { x: 1 }, ok: true }, "lab.reading", "depth cm 41 · ok true"],
    ["lab.words", "some text", "lab.words", "some text"],
    ["lab.list", [1, 2], "lab.list", ""],
    ["lab.nothing", null, "lab.nothing", ""],
  ])("%s", (name, data, title, detail) => expect(eventText(event(name, data))).toMatchObject({ title, detail }));

  it("names the number of events in a gap, the time in the camera's zone, and whether the events arrived late", () => {
    const reader = { timeZone: "Europe/Zurich", now: NOW };
    const gap = {
      ...{ reason: "dropped", count: 12 },
      ...{ from: "2026-03-12T02:10:00.000Z", to: "2026-03-12T02:25:00.000Z" },
    };
    const textOf = (data: object) => eventText(event("link.gap", data), reader);
    expect(textOf(gap)).toMatchObject({ title: "12 events never arrived", detail: "03:10–03:25 CET", tone: "warn" });
    expect(textOf({ ...gap, count: 1, to: gap.from })).toMatchObject({
      ...{ title: "1 event never arrived", detail: "03:10 CET" },
    });
    expect(textOf({ ...gap, count: 2040, from: "2026-03-10T20:00:00.000Z" })).toMatchObject({
      ...{ title: "2,040 events never arrived", detail: "10 Mar, 21:00 – 03:25 CET" },
    });
    expect(textOf({ ...gap, reason: "missing", filled: true })).toMatchObject({
      ...{ title: "12 events arrived late", tone: "good" },
    });
  });

  it("shortens a text that is too long for a line", () => {
    expect(eventText(event("lab.words", "x".repeat(500))).detail).toHaveLength(80);
  });
});
