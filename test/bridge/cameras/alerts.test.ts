import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Publish } from "../../../bridge/broker-link/publish.ts";
import { startAlerts } from "../../../bridge/cameras/alerts/alerts.ts";
import type { AlertThresholds } from "../../../bridge/cameras/alerts/config.ts";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import { recordingLogger } from "../support/recording-logger.ts";
import { envelope, type Fixture, logger, openFixture, tree, useFakeClock } from "./watcher-fixture.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const ABOUT = {
  ...{ model: "m", firmware: "f", capture_interval_s: 30 },
  location: { lat: 46, lon: 8, timezone: "Europe/Zurich" },
};
let fixture: Fixture;
let running: { stop(): Promise<void> } | undefined;
let refuse: boolean;

beforeEach(async () => {
  refuse = false;
  useFakeClock();
  fixture = await openFixture();
  await watch();
});

afterEach(() => running?.stop());

async function watch(thresholds: Partial<AlertThresholds> = {}): Promise<{ stop(): Promise<void> }> {
  const { journal, cluster, ingest } = fixture;
  const publish: Publish = async (message) => {
    if (refuse) throw new StoreUnavailableError("the disk is full");
    return ingest.publish(message);
  };
  running = await startAlerts({ journal, documents: cluster.documents, tree, publish, thresholds, logger });
  return running;
}

async function restart(stoppedMs = 0): Promise<void> {
  await running?.stop();
  running = undefined;
  vi.advanceTimersByTime(stoppedMs);
  await fixture.restart();
  await watch();
}

/** Lets time pass, and waits for the events that are published meanwhile. */
async function pass(ms: number): Promise<void> {
  vi.advanceTimersByTime(ms);
  await fixture.settled();
}

/** The history of an alert in this run, oldest first: its message when it was raised, null when it was cleared. */
function published(alert: string, owner = "cameras/north"): (string | null)[] {
  return fixture.published(`${owner}/alerts/${alert}`).map(({ event, data }) => {
    const { message } = data as { message?: string };
    expect(event).toBe(message === undefined ? "alert.cleared" : "alert.raised");
    return message ?? null;
  });
}

const isRaised = (alert: string, owner = "cameras/north") =>
  fixture.journal.state(`${tree.root}/${owner}/alerts/${alert}`) !== undefined;

const north = (topic: string, data: unknown) => fixture.accept(`cameras/north/${topic}`, data, { retain: true });
const event = (name: string, more: { historical?: boolean } = {}) =>
  fixture.accept(`cameras/north/events/${name}`, envelope(name, {}, more));
const publishStatus = (status: string) =>
  fixture.ingest.publish({
    topic: { kind: "camera-state", camera: "north", name: "presence" },
    ...{ event: `camera.${status}`, data: { status, since: new Date().toISOString() }, retain: true },
  });
const capturing = (active: boolean) => north("state/capture", { active, captures_completed: 1 });

/** Publishes a presence like the presence watcher. */
const presence = (status: string, more: { offline_since?: string; until?: string } = {}) =>
  fixture.ingest.publish({
    topic: { kind: "camera-state", camera: "north", name: "presence" },
    ...{ event: `camera.${status}`, data: { status, since: new Date().toISOString(), ...more }, retain: true },
  });

describe("the alert `offline`", () => {
  const OFFLINE = "Offline for more than 10 min: check its power and its link";

  it("is raised once when a camera has been offline for ten minutes, and cleared when it is online again", async () => {
    await presence("online");
    const offline_since = new Date().toISOString();
    await pass(30 * SECOND);
    await presence("offline", { offline_since });
    await pass(9 * MINUTE);
    expect(published("offline")).toEqual([]);
    await pass(MINUTE);
    expect(published("offline")).toEqual([OFFLINE]);
    await pass(60 * MINUTE);
    await presence("online");
    await pass(10 * SECOND);
    expect(published("offline")).toEqual([OFFLINE, null]);
  });

  it("is raised for a camera that takes no pictures, too", async () => {
    await capturing(false);
    await presence("offline", { offline_since: new Date().toISOString() });
    await pass(11 * MINUTE);
    expect(published("offline")).toEqual([OFFLINE]);
  });

  it("is not raised for a camera that sleeps as announced, or that never connected", async () => {
    await presence("sleeping", { until: new Date(Date.now() + 3_600_000).toISOString() });
    await pass(59 * MINUTE);
    await presence("never_seen");
    await pass(59 * MINUTE);
    expect(published("offline")).toEqual([]);
    expect(published("overslept")).toEqual([]);
  });

  it("can have a separate threshold for a camera; 0 disables the alert", async () => {
    await running?.stop();
    await watch({ offlineMs: 600_000, offlineMsOf: new Map([["north", 60_000]]) });
    await presence("offline", { offline_since: new Date().toISOString() });
    await pass(70 * SECOND);
    expect(published("offline")).toEqual(["Offline for more than 1 min: check its power and its link"]);
    await running?.stop();
    await watch({ offlineMsOf: new Map([["north", 0]]) });
    await pass(MINUTE);
    expect(published("offline").at(-1)).toBeNull();
    await pass(60 * MINUTE);
    expect(isRaised("offline")).toBe(false);
  });

  it("stays raised over a restart, and ignores the time in which the server was stopped", async () => {
    await presence("offline", { offline_since: new Date().toISOString() });
    await restart(120 * MINUTE);
    await pass(9 * MINUTE);
    expect(isRaised("offline")).toBe(false);
    await pass(2 * MINUTE);
    expect(published("offline")).toEqual([OFFLINE]);
    await restart();
    await pass(11 * MINUTE);
    expect(published("offline")).toEqual([]);
    expect(isRaised("offline")).toBe(true);
  });
});

describe("the alert `overslept`", () => {
  const LATE = "Has not come back from its sleep, and is more than 10 min late";

  it("is raised when a sleeping camera does not wake up, and cleared when the camera wakes up", async () => {
    const until = new Date(Date.now() + MINUTE).toISOString();
    await presence("sleeping", { until });
    await pass(90 * SECOND);
    await presence("overslept", { until, offline_since: until });
    await pass(9 * MINUTE);
    expect(published("overslept")).toEqual([]);
    await pass(MINUTE);
    expect(published("overslept")).toEqual([LATE]);
    expect(published("offline")).toEqual([]);
    await presence("online");
    await pass(10 * SECOND);
    expect(published("overslept")).toEqual([LATE, null]);
  });
});

describe("the alert `battery`", () => {
  it("is raised below 20 %, cleared at 25 % or more, and unchanged in between", async () => {
    for (const battery_percent of [20, 19, 21, 18, 24, 25, 24])
      await north("state/power", { source: "solar", battery_percent }).then(() => pass(10 * SECOND));
    expect(published("battery")).toEqual(["The battery has 19 % left", null]);
  });

  it("is not raised for a camera with mains power, or with ALERT_BATTERY_PERCENT 0", async () => {
    await north("state/power", { source: "mains", battery_percent: 3 });
    await pass(MINUTE);
    await running?.stop();
    await watch({ batteryPercent: 0 });
    await north("state/power", { source: "battery", battery_percent: 3 });
    await pass(MINUTE);
    expect(published("battery")).toEqual([]);
  });

  it("is not cleared if the camera raised it and publishes no battery level", async () => {
    await north("alerts/battery", { alert: "battery", severity: "warning", message: "low" });
    await pass(MINUTE);
    expect(isRaised("battery")).toBe(true);
  });
});

describe("the alert `disk-writes`", () => {
  it("is raised once while a camera reports that its disk is not writable, and cleared afterwards", async () => {
    const storage = { total_bytes: 64e9, free_bytes: 32e9 };
    for (const unwritable of ["EROFS: read-only file system", "EROFS", undefined])
      await north("state/storage", unwritable === undefined ? storage : { ...storage, unwritable }).then(() =>
        pass(10 * SECOND),
      );
    expect(published("disk-writes")).toEqual([
      expect.stringMatching(
        /^The camera cannot write to its disk \(EROFS: read-only file system\): .*restart the camera$/,
      ),
      null,
    ]);
  });
});

describe("the alert `no-capture`", () => {
  const NO_PICTURE = "No picture for more than 5 min, though the schedule asks for one every 30 s";

  beforeEach(async () => {
    await north("about", ABOUT);
    await capturing(true);
    await publishStatus("online");
    await event("capture.completed");
  });

  it("is raised once after five minutes without a capture, and cleared once by the next capture", async () => {
    await pass(4 * MINUTE + 55 * SECOND);
    expect(published("no-capture")).toEqual([]);
    await pass(10 * SECOND);
    expect(published("no-capture")).toEqual([NO_PICTURE]);
    await publishStatus("stale");
    await pass(30 * MINUTE);
    expect(published("no-capture")).toEqual([NO_PICTURE]);
    await event("capture.completed");
    await publishStatus("online");
    await pass(10 * SECOND);
    expect(published("no-capture")).toEqual([NO_PICTURE, null]);
    expect(isRaised("no-capture")).toBe(false);
    await pass(6 * MINUTE);
    expect(published("no-capture")).toEqual([NO_PICTURE, null, NO_PICTURE]);
  });

  it("is raised only after two intervals if they are longer than five minutes", async () => {
    await north("about", { ...ABOUT, capture_interval_s: 600 });
    await pass(19 * MINUTE);
    expect(published("no-capture")).toEqual([]);
    await pass(2 * MINUTE);
    expect(published("no-capture")).toEqual([
      "No picture for more than 20 min, though the schedule asks for one every 10 min",
    ]);
  });

  it("does not change when the interval becomes shorter", async () => {
    await north("about", { ...ABOUT, capture_interval_s: 3600 });
    await pass(60 * MINUTE);
    await north("about", ABOUT);
    await pass(4 * MINUTE);
    expect(published("no-capture")).toEqual([]);
    await pass(2 * MINUTE);
    expect(published("no-capture")).toEqual([NO_PICTURE]);
    await north("about", { ...ABOUT, capture_interval_s: 10 });
    await pass(30 * MINUTE);
    expect(published("no-capture")).toEqual([NO_PICTURE]);
  });

  it("is cleared when the interval becomes longer, and raised again when no capture arrives in two such intervals", async () => {
    await pass(6 * MINUTE);
    await north("about", { ...ABOUT, capture_interval_s: 3600 });
    await pass(MINUTE);
    expect(published("no-capture")).toEqual([NO_PICTURE, null]);
    await pass(120 * MINUTE);
    expect(published("no-capture")).toEqual([
      NO_PICTURE,
      null,
      "No picture for more than 2 h, though the schedule asks for one every 1 h",
    ]);
  });

  it("ignores the time in which the schedule is not active", async () => {
    await capturing(false);
    await pass(60 * MINUTE);
    await capturing(true);
    await pass(4 * MINUTE);
    expect(published("no-capture")).toEqual([]);
    await pass(2 * MINUTE);
    expect(published("no-capture")).toHaveLength(1);
    await capturing(false);
    await pass(10 * SECOND);
    expect(published("no-capture")).toEqual([NO_PICTURE, null]);
  });

  it.each(["offline", "sleeping"])(
    "is not raised while a camera is %s, and is cleared when the camera enters that state",
    async (status) => {
      await publishStatus(status);
      await pass(60 * MINUTE);
      expect(published("no-capture")).toEqual([]);
      await publishStatus("online");
      await pass(4 * MINUTE);
      expect(published("no-capture")).toEqual([]);
      await pass(2 * MINUTE);
      expect(published("no-capture")).toHaveLength(1);
      await publishStatus(status);
      await pass(10 * SECOND);
      expect(published("no-capture")).toEqual([NO_PICTURE, null]);
    },
  );

  it("is not delayed by captures from a backlog", async () => {
    for (let minute = 0; minute < 6; minute++) {
      await pass(MINUTE);
      await event("capture.completed", { historical: true });
    }
    expect(published("no-capture")).toHaveLength(1);
  });

  it("stays raised over a restart until the next capture, and is not raised again", async () => {
    await pass(6 * MINUTE);
    expect(published("no-capture")).toHaveLength(1);
    await restart(MINUTE);
    await publishStatus("unknown");
    await pass(MINUTE);
    await publishStatus("online");
    await pass(20 * MINUTE);
    expect(published("no-capture")).toEqual([]);
    expect(isRaised("no-capture")).toBe(true);
    await event("capture.completed");
    await pass(10 * SECOND);
    expect(published("no-capture")).toEqual([null]);
  });

  it("stays raised when the interval becomes shorter after a restart", async () => {
    await pass(6 * MINUTE);
    await restart(MINUTE);
    await publishStatus("unknown");
    await publishStatus("online");
    await pass(MINUTE);
    await north("about", { ...ABOUT, capture_interval_s: 10 });
    await pass(20 * MINUTE);
    expect([published("no-capture"), isRaised("no-capture")]).toEqual([[], true]);
    await event("capture.completed");
    await pass(10 * SECOND);
    expect(published("no-capture")).toEqual([null]);
  });

  it("ignores the time in which the server was stopped", async () => {
    await restart(60 * MINUTE);
    await publishStatus("unknown");
    await pass(MINUTE);
    await publishStatus("online");
    await pass(4 * MINUTE);
    expect(published("no-capture")).toEqual([]);
    await pass(2 * MINUTE);
    expect(published("no-capture")).toHaveLength(1);
  });

  it("is cleared when the camera does not connect after a restart", async () => {
    await pass(6 * MINUTE);
    await restart();
    await publishStatus("unknown");
    await pass(11 * MINUTE);
    expect(published("no-capture")).toEqual([null]);
  });

  it("is cleared at the start when a capture arrived while no watcher ran", async () => {
    await pass(6 * MINUTE);
    await running?.stop();
    running = undefined;
    await event("capture.completed");
    await fixture.restart();
    await watch();
    await fixture.settled();
    expect(published("no-capture")).toEqual([null]);
  });
});

describe("the alert `disk`", () => {
  const storage = (percent: number) => north("state/storage", { total_bytes: 1000, free_bytes: 1000 - percent * 10 });

  it("is raised above 80 %, cleared below 75 %, and unchanged in between", async () => {
    for (const percent of [79, 80, 81, 79, 76, 75, 82, 78]) {
      await storage(percent);
      await pass(5 * SECOND);
    }
    expect(published("disk")).toEqual(["Storage is 81 % full"]);
    await storage(74);
    await pass(5 * SECOND);
    await storage(79);
    await pass(5 * SECOND);
    expect(published("disk")).toEqual(["Storage is 81 % full", null]);
    await storage(90);
    await pass(5 * SECOND);
    expect(published("disk")).toHaveLength(3);
  });

  it("stays raised over a restart, and is cleared when the camera clears its state", async () => {
    await storage(90);
    await pass(5 * SECOND);
    await restart();
    await pass(MINUTE);
    expect([published("disk"), isRaised("disk")]).toEqual([[], true]);
    await north("state/storage", null);
    await pass(5 * SECOND);
    expect(published("disk")).toEqual([null]);
  });

  it("is not repeated by the backend when the camera itself raises and clears the alert", async () => {
    const own = { alert: "disk", severity: "warning", message: "My disk is 81 % full" };
    // The usage rises this many milliseconds before the next check.
    for (const before of [1, 1000]) {
      await pass(10 * SECOND - (Date.now() % (5 * SECOND)) - before);
      await storage(81);
      await pass(before + 1);
      await fixture.accept("cameras/north/alerts/disk", own, { retain: true });
      await pass(MINUTE);
      await pass(5 * SECOND - (Date.now() % (5 * SECOND)) - 1);
      await storage(60);
      await pass(1);
      await fixture.accept("cameras/north/alerts/disk", null, { retain: true });
      await pass(MINUTE);
    }
    expect(published("disk")).toEqual([own.message, null, own.message, null]);
  });

  it("is raised and cleared once for a camera that publishes its usage every second", async () => {
    for (const percent of [81, 60]) {
      for (let second = 0; second < 30; second++) {
        await storage(percent);
        await pass(SECOND);
      }
    }
    expect(published("disk")).toEqual(["Storage is 81 % full", null]);
  });

  it.each([95, 70])("follows only the limit that the camera publishes: %d", async (limit) => {
    const own = { alert: "disk", severity: "warning", message: "The camera's storage is full" };
    const fillTo = (percent: number) =>
      north("state/storage", { total_bytes: 1000, free_bytes: 1000 - percent * 10, alert_percent: limit });
    const fill = async (...percents: number[]): Promise<void> => {
      for (const percent of percents) {
        await fillTo(percent);
        await pass(2 * MINUTE);
      }
    };
    await fill(60, limit - 10, limit);
    expect(published("disk")).toEqual([]);
    await fillTo(limit + 1);
    // The camera's own alert takes 20 s over a slow link.
    await pass(20 * SECOND);
    await fixture.accept("cameras/north/alerts/disk", envelope("alert.raised", own, { seq: 7 }), { retain: true });
    await fill(limit + 2, limit, limit - 4);
    await fillTo(limit - 6);
    await pass(20 * SECOND);
    await fixture.accept("cameras/north/alerts/disk", null, { retain: true });
    await fill(limit - 12, 10);
    expect(published("disk")).toEqual([own.message, null]);
    // The camera does not raise the alert again, so the backend raises it.
    await fill(limit + 3);
    expect(published("disk").slice(2)).toEqual([`Storage is ${limit + 3} % full`]);
    await fill(limit - 11);
    expect(published("disk").slice(3)).toEqual([null]);
  });

  describe("for a camera whose limit changes", () => {
    const own = { alert: "disk", severity: "warning", message: "The camera's storage is full" };
    const limited = (percent: number, limit: number) =>
      north("state/storage", { total_bytes: 1000, free_bytes: 1000 - percent * 10, alert_percent: limit });

    it.each([false, true])(
      "follows the backend's limit again when the camera no longer publishes a limit (after a restart: %s)",
      async (restarted) => {
        await storage(49);
        await fixture.accept("cameras/north/alerts/disk", envelope("alert.raised", own, { seq: 7 }), { retain: true });
        await limited(51, 50);
        await pass(2 * MINUTE);
        expect([published("disk"), isRaised("disk")]).toEqual([[own.message], true]);
        if (restarted) await restart();
        await storage(51);
        await pass(10 * SECOND);
        expect(published("disk").at(-1)).toBe(null);
        expect(isRaised("disk")).toBe(false);
      },
    );

    it("is cleared when the usage is well below the camera's new limit", async () => {
      await storage(88);
      await pass(10 * SECOND);
      await limited(91, 95);
      await pass(2 * MINUTE);
      expect(published("disk")).toEqual(["Storage is 88 % full"]);
      await limited(88, 95);
      await pass(2 * MINUTE);
      expect(published("disk")).toEqual(["Storage is 88 % full", null]);
    });
  });

  it("stays raised, also over a restart, until the usage is well below the lower limit at which the camera raised it", async () => {
    const own = { alert: "disk", severity: "warning", message: "The camera's storage is 61 % full" };
    await storage(61);
    await fixture.accept("cameras/north/alerts/disk", envelope("alert.raised", own, { seq: 7 }), { retain: true });
    await pass(MINUTE);
    expect([published("disk"), isRaised("disk")]).toEqual([[own.message], true]);
    await storage(56);
    await restart();
    await storage(52);
    await pass(MINUTE);
    expect([published("disk"), isRaised("disk")]).toEqual([[], true]);
    // A camera with a new disk does not clear the alert itself.
    await storage(50);
    await pass(MINUTE);
    expect(published("disk")).toEqual([null]);
  });

  it("ignores measurements from a backlog", async () => {
    const late = (percent: number) =>
      north(
        "state/storage",
        envelope("resource.update", { total_bytes: 100, free_bytes: 100 - percent }, { historical: true }),
      );
    await storage(50);
    await late(90);
    await pass(MINUTE);
    expect(published("disk")).toEqual([]);
    await storage(90);
    await late(50);
    await pass(MINUTE);
    expect(published("disk")).toEqual(["Storage is 90 % full"]);
  });

  it("is raised above the limit of the setting diskPercent", async () => {
    await running?.stop();
    await watch({ diskPercent: 50 });
    await storage(60);
    await pass(5 * SECOND);
    expect(published("disk")).toHaveLength(1);
  });
});

describe("the alert `failures`", () => {
  async function captures(outcomes: string): Promise<void> {
    for (const outcome of outcomes) await event(outcome === "x" ? "capture.failed" : "capture.completed");
    await pass(5 * SECOND);
  }

  it("is raised above 10 % of the last 20 captures, cleared at 5 %, and not raised with fewer than 10 captures", async () => {
    await captures("xxx......");
    expect(published("failures")).toEqual([]);
    await captures(".");
    expect(published("failures")).toEqual(["3 of the last 10 pictures failed"]);
    await captures("..........");
    expect(published("failures")).toHaveLength(1);
    await captures("..");
    expect(published("failures")).toEqual(["3 of the last 10 pictures failed", null]);
    await captures("xxx");
    expect(published("failures")).toEqual([
      "3 of the last 10 pictures failed",
      null,
      "3 of the last 20 pictures failed",
    ]);
  });

  it("counts the captures before a restart", async () => {
    await captures("xx.......");
    await restart();
    await captures("x");
    expect(published("failures")).toEqual(["3 of the last 10 pictures failed"]);
    await restart();
    await captures(".".repeat(20));
    expect(published("failures")).toEqual([null]);
  });
});

describe("the alert `job-queue`", () => {
  const job = (name: string, status: string | null) =>
    fixture.accept(
      `processing/farm/jobs/${name}`,
      status === null ? null : { job: name, type: "image_processing", status, progress: 0 },
      { retain: true },
    );
  const queue = async (from: number, to: number, status: string | null) => {
    for (let n = from; n <= to; n++) await job(`j${n}`, status);
    await pass(5 * SECOND);
  };

  it("is raised above ten waiting jobs, and cleared at five", async () => {
    await queue(1, 10, "queued");
    expect(published("job-queue", "processing/farm")).toEqual([]);
    await queue(11, 11, "queued");
    expect(published("job-queue", "processing/farm")).toEqual(["11 jobs wait to be processed"]);
    await queue(1, 3, "processing");
    await queue(4, 5, null);
    expect(published("job-queue", "processing/farm")).toHaveLength(1);
    await queue(6, 6, "completed");
    expect(published("job-queue", "processing/farm")).toEqual(["11 jobs wait to be processed", null]);
  });

  it("ignores jobs from a backlog", async () => {
    for (let n = 1; n <= 11; n++) {
      const data = { job: `j${n}`, type: "image_processing", status: "queued", progress: 0 };
      const late = envelope("job.progress", data, { historical: true });
      await fixture.accept(`processing/farm/jobs/j${n}`, late, { retain: true });
    }
    await pass(MINUTE);
    expect(published("job-queue", "processing/farm")).toEqual([]);
  });

  it("counts the jobs that were waiting before a restart", async () => {
    await queue(1, 10, "queued");
    await restart();
    await queue(11, 11, "queued");
    expect(published("job-queue", "processing/farm")).toHaveLength(1);
  });

  it("is on the channels for alerts and jobs", async () => {
    await queue(1, 11, "queued");
    const topic = `${tree.root}/processing/farm/alerts/job-queue`;
    expect(fixture.entries.find((entry) => entry.topic === topic)?.channels).toEqual(["alerts", "jobs", "dashboard"]);
  });
});

describe("the alert `worker-silent`", () => {
  const FARM = "processing/farm";
  const link = (status: string, session = "s1") =>
    fixture.accept(`${FARM}/link`, { status, session }, { retain: true });
  const working = () =>
    fixture.accept(
      `${FARM}/jobs/j1`,
      { job: "j1", type: "image_processing", status: "processing", progress: 1 },
      { retain: true },
    );

  it("is raised when the service has been offline for five minutes, and cleared when it is online again", async () => {
    await link("online");
    await pass(60 * MINUTE);
    await link("offline");
    await pass(4 * MINUTE);
    expect(published("worker-silent", FARM)).toEqual([]);
    await pass(2 * MINUTE);
    expect(published("worker-silent", FARM)).toEqual(["The processing service has been offline for more than 5 min"]);
    await link("online", "s2");
    await pass(5 * SECOND);
    expect(published("worker-silent", FARM)).toHaveLength(2);
    expect(isRaised("worker-silent", FARM)).toBe(false);
  });

  it("is not raised by the will of a replaced connection, or while the service publishes", async () => {
    await link("online", "s1");
    await link("online", "s2");
    await link("offline", "s1");
    await pass(10 * MINUTE);
    await link("offline", "s2");
    await fixture.accept(`${FARM}/events/hello`, { a: 1 });
    await pass(10 * MINUTE);
    expect(published("worker-silent", FARM)).toEqual([]);
  });

  it("is raised for a service that is silent about its jobs, but not for a service without jobs", async () => {
    await link("online");
    await pass(60 * MINUTE);
    await working();
    await pass(6 * MINUTE);
    expect(published("worker-silent", FARM)).toEqual([
      "The processing service has not reported on its jobs for more than 5 min",
    ]);
    await working();
    await pass(5 * SECOND);
    expect(published("worker-silent", FARM)).toHaveLength(2);
  });

  it("stays raised over a restart, and ignores the time in which the server was stopped", async () => {
    await link("offline");
    await pass(6 * MINUTE);
    await restart(60 * MINUTE);
    await pass(MINUTE);
    expect([published("worker-silent", FARM), isRaised("worker-silent", FARM)]).toEqual([[], true]);
    await link("online");
    await working();
    await pass(5 * SECOND);
    expect(published("worker-silent", FARM)).toEqual([null]);
    await restart(60 * MINUTE);
    await pass(4 * MINUTE);
    expect(published("worker-silent", FARM)).toEqual([]);
  });
});

describe("alerts", () => {
  it("are raised once when the store becomes available again", async () => {
    await north("state/storage", { total_bytes: 100, free_bytes: 10 });
    refuse = true;
    await pass(MINUTE);
    expect(published("disk")).toEqual([]);
    refuse = false;
    await pass(MINUTE);
    expect(published("disk")).toHaveLength(1);
  });

  it("are raised and cleared once when two nodes watch one journal", async () => {
    const first = running;
    await watch();
    for (const free of [10, 50, 10]) {
      await north("state/storage", { total_bytes: 100, free_bytes: free });
      await pass(5 * SECOND);
    }
    expect(published("disk")).toEqual(["Storage is 90 % full", null, "Storage is 90 % full"]);
    await first?.stop();
  });

  it("are not raised for further cameras when maxCameras cameras are watched", async () => {
    await running?.stop();
    const { journal, cluster, ingest } = fixture;
    const publish = ingest.publish.bind(ingest);
    running = await startAlerts({ journal, documents: cluster.documents, tree, publish, maxCameras: 1, logger });
    await north("state/storage", { total_bytes: 100, free_bytes: 10 });
    await fixture.accept("cameras/south/state/storage", { total_bytes: 100, free_bytes: 10 }, { retain: true });
    await pass(5 * SECOND);
    expect([isRaised("disk"), isRaised("disk", "cameras/south")]).toEqual([true, false]);
  });
});

it("the alert watcher logs the number of suppressed lines when it stops", async () => {
  const recording = recordingLogger();
  await running?.stop();
  const { journal, cluster, ingest } = fixture;
  const publish = ingest.publish.bind(ingest);
  const { logger } = recording;
  running = await startAlerts({ journal, documents: cluster.documents, tree, publish, logger });
  for (const free of [100, 500, 100, 500, 100]) {
    await north("state/storage", { total_bytes: 1000, free_bytes: free });
    await pass(5 * SECOND);
  }
  const raised = () => recording.lines.filter(({ msg }) => msg === "alert raised").map(({ times }) => times);
  expect(raised()).toEqual([1]);
  await running.stop();
  expect(raised()).toEqual([1, 2]);
});
