import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Publish } from "../../../bridge/broker-link/publish.ts";
import { startAlerts } from "../../../bridge/cameras/alerts/alerts.ts";
import type { AlertThresholds } from "../../../bridge/cameras/alerts/thresholds.ts";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import { recordingLogger } from "../support/recording-logger.ts";
import { envelope, logger, openPlace, type Place, stopTheClock, tree } from "./alerts-place.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const ABOUT = {
  ...{ model: "m", firmware: "f", capture_interval_s: 30 },
  location: { lat: 46, lon: 8, timezone: "Europe/Zurich" },
};
let place: Place;
let running: { stop(): Promise<void> } | undefined;
let refuse: boolean;

beforeEach(async () => {
  refuse = false;
  stopTheClock();
  place = await openPlace();
  await watch();
});

afterEach(() => running?.stop());

async function watch(thresholds: Partial<AlertThresholds> = {}): Promise<{ stop(): Promise<void> }> {
  const { journal, cluster, ingest } = place;
  const publish: Publish = async (message) => {
    if (refuse) throw new StoreUnavailableError("the disk is full");
    return ingest.publish(message);
  };
  running = await startAlerts({ journal, documents: cluster.documents, tree, publish, thresholds, logger });
  return running;
}

async function restart(awayMs = 0): Promise<void> {
  await running?.stop();
  running = undefined;
  vi.advanceTimersByTime(awayMs);
  await place.restart();
  await watch();
}

/** Time passes; what is to be said by then is said. */
async function pass(ms: number): Promise<void> {
  vi.advanceTimersByTime(ms);
  await place.settled();
}

/** The words of an alert of this run, as they came: its message, or null where it was cleared. */
function said(alert: string, owner = "cameras/north"): (string | null)[] {
  return place.said(`${owner}/alerts/${alert}`).map(({ event, data }) => {
    const { message } = data as { message?: string };
    expect(event).toBe(message === undefined ? "alert.cleared" : "alert.raised");
    return message ?? null;
  });
}

const stands = (alert: string, owner = "cameras/north") =>
  place.journal.state(`${tree.root}/${owner}/alerts/${alert}`) !== undefined;

const north = (topic: string, data: unknown) => place.say(`cameras/north/${topic}`, data, { retain: true });
const event = (name: string, more: { historical?: boolean } = {}) =>
  place.say(`cameras/north/events/${name}`, envelope(name, {}, more));
const isThere = (status: string) =>
  place.ingest.publish({
    topic: { kind: "camera-state", camera: "north", name: "presence" },
    ...{ event: `camera.${status}`, data: { status, since: new Date().toISOString() }, retain: true },
  });
const capturing = (active: boolean) => north("state/capture", { active, captures_completed: 1 });

/** As presence publishes it. */
const presence = (status: string, more: { offline_since?: string; until?: string } = {}) =>
  place.ingest.publish({
    topic: { kind: "camera-state", camera: "north", name: "presence" },
    ...{ event: `camera.${status}`, data: { status, since: new Date().toISOString(), ...more }, retain: true },
  });

describe("offline", () => {
  const GONE = "Offline for more than 10 min: check its power and its link";

  it("is raised once when a camera has been gone for ten minutes, and cleared when it is back", async () => {
    await presence("online");
    const offline_since = new Date().toISOString();
    await pass(30 * SECOND);
    await presence("offline", { offline_since });
    await pass(9 * MINUTE);
    expect(said("offline")).toEqual([]);
    await pass(MINUTE);
    expect(said("offline")).toEqual([GONE]);
    await pass(60 * MINUTE);
    await presence("online");
    await pass(10 * SECOND);
    expect(said("offline")).toEqual([GONE, null]);
  });

  it("is raised of a camera that takes no pictures, too", async () => {
    await capturing(false);
    await presence("offline", { offline_since: new Date().toISOString() });
    await pass(11 * MINUTE);
    expect(said("offline")).toEqual([GONE]);
  });

  it("is quiet while the camera sleeps as announced, and of one that never came", async () => {
    await presence("sleeping", { until: new Date(Date.now() + 3_600_000).toISOString() });
    await pass(59 * MINUTE);
    await presence("never_seen");
    await pass(59 * MINUTE);
    expect(said("offline")).toEqual([]);
    expect(said("overslept")).toEqual([]);
  });

  it("has a threshold of its own for single cameras, and none with 0", async () => {
    await running?.stop();
    await watch({ offlineMs: 600_000, offlineMsOf: new Map([["north", 60_000]]) });
    await presence("offline", { offline_since: new Date().toISOString() });
    await pass(70 * SECOND);
    expect(said("offline")).toEqual(["Offline for more than 1 min: check its power and its link"]);
    await running?.stop();
    await watch({ offlineMsOf: new Map([["north", 0]]) });
    await pass(MINUTE);
    expect(said("offline").at(-1)).toBeNull();
    await pass(60 * MINUTE);
    expect(stands("offline")).toBe(false);
  });

  it("stands over a restart, and is not raised for the time in which nobody could come back", async () => {
    await presence("offline", { offline_since: new Date().toISOString() });
    await restart(120 * MINUTE);
    await pass(9 * MINUTE);
    expect(stands("offline")).toBe(false);
    await pass(2 * MINUTE);
    expect(said("offline")).toEqual([GONE]);
    await restart();
    await pass(11 * MINUTE);
    expect(said("offline")).toEqual([]);
    expect(stands("offline")).toBe(true);
  });
});

describe("overslept", () => {
  const LATE = "Has not come back from its sleep, and is more than 10 min late";

  it("is raised when a sleeper does not wake, and cleared when it does", async () => {
    const until = new Date(Date.now() + MINUTE).toISOString();
    await presence("sleeping", { until });
    await pass(90 * SECOND);
    await presence("overslept", { until, offline_since: until });
    await pass(9 * MINUTE);
    expect(said("overslept")).toEqual([]);
    await pass(MINUTE);
    expect(said("overslept")).toEqual([LATE]);
    expect(said("offline")).toEqual([]);
    await presence("online");
    await pass(10 * SECOND);
    expect(said("overslept")).toEqual([LATE, null]);
  });
});

describe("battery", () => {
  it("is raised below 20 %, cleared from 25 % on, and does not flap in between", async () => {
    for (const battery_percent of [20, 19, 21, 18, 24, 25, 24])
      await north("state/power", { source: "solar", battery_percent }).then(() => pass(10 * SECOND));
    expect(said("battery")).toEqual(["The battery has 19 % left", null]);
  });

  it("is not raised of a camera at the mains, nor with ALERT_BATTERY_PERCENT 0", async () => {
    await north("state/power", { source: "mains", battery_percent: 3 });
    await pass(MINUTE);
    await running?.stop();
    await watch({ batteryPercent: 0 });
    await north("state/power", { source: "battery", battery_percent: 3 });
    await pass(MINUTE);
    expect(said("battery")).toEqual([]);
  });

  it("that a camera raises itself, and of which it says nothing else, is the camera's to clear", async () => {
    await north("alerts/battery", { alert: "battery", severity: "warning", message: "low" });
    await pass(MINUTE);
    expect(stands("battery")).toBe(true);
  });
});

describe("disk-writes", () => {
  it("is raised once while a camera says that its disk takes no writes, and cleared when it says so no longer", async () => {
    const storage = { total_bytes: 64e9, free_bytes: 32e9 };
    for (const unwritable of ["EROFS: read-only file system", "EROFS", undefined])
      await north("state/storage", unwritable === undefined ? storage : { ...storage, unwritable }).then(() =>
        pass(10 * SECOND),
      );
    expect(said("disk-writes")).toEqual([
      expect.stringMatching(
        /^The camera cannot write to its disk \(EROFS: read-only file system\): .*restart the camera$/,
      ),
      null,
    ]);
  });
});

describe("no-capture", () => {
  const NO_PICTURE = "No picture for more than 5 min, though the schedule asks for one every 30 s";

  beforeEach(async () => {
    await north("about", ABOUT);
    await capturing(true);
    await isThere("online");
    await event("capture.completed");
  });

  it("is raised once after five minutes without a picture, and cleared once by the next", async () => {
    await pass(4 * MINUTE + 55 * SECOND);
    expect(said("no-capture")).toEqual([]);
    await pass(10 * SECOND);
    expect(said("no-capture")).toEqual([NO_PICTURE]);
    await isThere("stale");
    await pass(30 * MINUTE);
    expect(said("no-capture")).toEqual([NO_PICTURE]);
    await event("capture.completed");
    await isThere("online");
    await pass(10 * SECOND);
    expect(said("no-capture")).toEqual([NO_PICTURE, null]);
    expect(stands("no-capture")).toBe(false);
    await pass(6 * MINUTE);
    expect(said("no-capture")).toEqual([NO_PICTURE, null, NO_PICTURE]);
  });

  it("waits twice the interval where that is longer", async () => {
    await north("about", { ...ABOUT, capture_interval_s: 600 });
    await pass(19 * MINUTE);
    expect(said("no-capture")).toEqual([]);
    await pass(2 * MINUTE);
    expect(said("no-capture")).toEqual([
      "No picture for more than 20 min, though the schedule asks for one every 10 min",
    ]);
  });

  it("is not raised because the interval becomes shorter, and stands when it becomes so later", async () => {
    await north("about", { ...ABOUT, capture_interval_s: 3600 });
    await pass(60 * MINUTE);
    await north("about", ABOUT);
    await pass(4 * MINUTE);
    expect(said("no-capture")).toEqual([]);
    await pass(2 * MINUTE);
    expect(said("no-capture")).toEqual([NO_PICTURE]);
    await north("about", { ...ABOUT, capture_interval_s: 10 });
    await pass(30 * MINUTE);
    expect(said("no-capture")).toEqual([NO_PICTURE]);
  });

  it("goes when the interval becomes longer, and is raised again when no picture comes by that either", async () => {
    await pass(6 * MINUTE);
    await north("about", { ...ABOUT, capture_interval_s: 3600 });
    await pass(MINUTE);
    expect(said("no-capture")).toEqual([NO_PICTURE, null]);
    await pass(120 * MINUTE);
    expect(said("no-capture")).toEqual([
      NO_PICTURE,
      null,
      "No picture for more than 2 h, though the schedule asks for one every 1 h",
    ]);
  });

  it("is not raised while the schedule asks for none, and begins to count when it does", async () => {
    await capturing(false);
    await pass(60 * MINUTE);
    await capturing(true);
    await pass(4 * MINUTE);
    expect(said("no-capture")).toEqual([]);
    await pass(2 * MINUTE);
    expect(said("no-capture")).toHaveLength(1);
    await capturing(false);
    await pass(10 * SECOND);
    expect(said("no-capture")).toEqual([NO_PICTURE, null]);
  });

  it.each(["offline", "sleeping"])(
    "is not raised of a camera that is %s, and goes when it becomes so",
    async (status) => {
      await isThere(status);
      await pass(60 * MINUTE);
      expect(said("no-capture")).toEqual([]);
      await isThere("online");
      await pass(4 * MINUTE);
      expect(said("no-capture")).toEqual([]);
      await pass(2 * MINUTE);
      expect(said("no-capture")).toHaveLength(1);
      await isThere(status);
      await pass(10 * SECOND);
      expect(said("no-capture")).toEqual([NO_PICTURE, null]);
    },
  );

  it("is not put off by pictures of a backlog: they were taken long ago", async () => {
    for (let minute = 0; minute < 6; minute++) {
      await pass(MINUTE);
      await event("capture.completed", { historical: true });
    }
    expect(said("no-capture")).toHaveLength(1);
  });

  it("stays over a restart until the camera shows that it takes pictures, and is not raised again", async () => {
    await pass(6 * MINUTE);
    expect(said("no-capture")).toHaveLength(1);
    await restart(MINUTE);
    await isThere("unknown");
    await pass(MINUTE);
    await isThere("online");
    await pass(20 * MINUTE);
    expect(said("no-capture")).toEqual([]);
    expect(stands("no-capture")).toBe(true);
    await event("capture.completed");
    await pass(10 * SECOND);
    expect(said("no-capture")).toEqual([null]);
  });

  it("stays over a restart, too, when the interval becomes shorter after it: that is no picture", async () => {
    await pass(6 * MINUTE);
    await restart(MINUTE);
    await isThere("unknown");
    await isThere("online");
    await pass(MINUTE);
    await north("about", { ...ABOUT, capture_interval_s: 10 });
    await pass(20 * MINUTE);
    expect([said("no-capture"), stands("no-capture")]).toEqual([[], true]);
    await event("capture.completed");
    await pass(10 * SECOND);
    expect(said("no-capture")).toEqual([null]);
  });

  it("is not raised after a restart for the time in which nobody was there to hear", async () => {
    await restart(60 * MINUTE);
    await isThere("unknown");
    await pass(MINUTE);
    await isThere("online");
    await pass(4 * MINUTE);
    expect(said("no-capture")).toEqual([]);
    await pass(2 * MINUTE);
    expect(said("no-capture")).toHaveLength(1);
  });

  it("goes when the camera is not heard of again after a restart", async () => {
    await pass(6 * MINUTE);
    await restart();
    await isThere("unknown");
    await pass(11 * MINUTE);
    expect(said("no-capture")).toEqual([null]);
  });

  it("that no longer holds at a start is cleared then", async () => {
    await pass(6 * MINUTE);
    await running?.stop();
    running = undefined;
    // While nobody watched.
    await event("capture.completed");
    await place.restart();
    await watch();
    await place.settled();
    expect(said("no-capture")).toEqual([null]);
  });
});

describe("disk", () => {
  const storage = (percent: number) => north("state/storage", { total_bytes: 1000, free_bytes: 1000 - percent * 10 });

  it("is raised above 80 %, cleared below 75 %, and does not flap in between", async () => {
    for (const percent of [79, 80, 81, 79, 76, 75, 82, 78]) {
      await storage(percent);
      await pass(5 * SECOND);
    }
    expect(said("disk")).toEqual(["Storage is 81 % full"]);
    await storage(74);
    await pass(5 * SECOND);
    await storage(79);
    await pass(5 * SECOND);
    expect(said("disk")).toEqual(["Storage is 81 % full", null]);
    await storage(90);
    await pass(5 * SECOND);
    expect(said("disk")).toHaveLength(3);
  });

  it("stands over a restart, and is cleared there when the camera has taken its word back", async () => {
    await storage(90);
    await pass(5 * SECOND);
    await restart();
    await pass(MINUTE);
    expect([said("disk"), stands("disk")]).toEqual([[], true]);
    await north("state/storage", null);
    await pass(5 * SECOND);
    expect(said("disk")).toEqual([null]);
  });

  it("that the camera raises and clears itself is not said twice", async () => {
    const own = { alert: "disk", severity: "warning", message: "My disk is 81 % full" };
    // In between two looks, and in the middle of one.
    for (const before of [1, 1000]) {
      await pass(10 * SECOND - (Date.now() % (5 * SECOND)) - before);
      await storage(81);
      await pass(before + 1);
      await place.say("cameras/north/alerts/disk", own, { retain: true });
      await pass(MINUTE);
      await pass(5 * SECOND - (Date.now() % (5 * SECOND)) - 1);
      await storage(60);
      await pass(1);
      await place.say("cameras/north/alerts/disk", null, { retain: true });
      await pass(MINUTE);
    }
    expect(said("disk")).toEqual([own.message, null, own.message, null]);
  });

  it("is raised and cleared once, too, of a camera that says every second how full it is", async () => {
    for (const percent of [81, 60]) {
      for (let second = 0; second < 30; second++) {
        await storage(percent);
        await pass(SECOND);
      }
    }
    expect(said("disk")).toEqual(["Storage is 81 % full", null]);
  });

  it.each([95, 70])(
    "that the camera raises above a limit of %d that it names is judged by that alone",
    async (limit) => {
      const own = { alert: "disk", severity: "warning", message: "The camera's storage is full" };
      const name = (percent: number) =>
        north("state/storage", { total_bytes: 1000, free_bytes: 1000 - percent * 10, alert_percent: limit });
      const fill = async (...percents: number[]): Promise<void> => {
        for (const percent of percents) {
          await name(percent);
          await pass(2 * MINUTE);
        }
      };
      await fill(60, limit - 10, limit);
      expect(said("disk")).toEqual([]);
      await name(limit + 1);
      // As long as that over a slow link.
      await pass(20 * SECOND);
      await place.say("cameras/north/alerts/disk", envelope("alert.raised", own, { seq: 7 }), { retain: true });
      await fill(limit + 2, limit, limit - 4);
      await name(limit - 6);
      await pass(20 * SECOND);
      await place.say("cameras/north/alerts/disk", null, { retain: true });
      await fill(limit - 12, 10);
      expect(said("disk")).toEqual([own.message, null]);
      // Should the camera believe that it has said so already.
      await fill(limit + 3);
      expect(said("disk").slice(2)).toEqual([`Storage is ${limit + 3} % full`]);
      await fill(limit - 11);
      expect(said("disk").slice(3)).toEqual([null]);
    },
  );

  describe("of a camera whose limit is changed", () => {
    const own = { alert: "disk", severity: "warning", message: "The camera's storage is full" };
    const limited = (percent: number, limit: number) =>
      north("state/storage", { total_bytes: 1000, free_bytes: 1000 - percent * 10, alert_percent: limit });

    it.each([false, true])(
      "is the backend's again when there is none any more (after a restart: %s)",
      async (restarted) => {
        await storage(49);
        await place.say("cameras/north/alerts/disk", envelope("alert.raised", own, { seq: 7 }), { retain: true });
        await limited(51, 50);
        await pass(2 * MINUTE);
        expect([said("disk"), stands("disk")]).toEqual([[own.message], true]);
        if (restarted) await restart();
        await storage(51);
        await pass(10 * SECOND);
        expect(said("disk").at(-1)).toBe(null);
        expect(stands("disk")).toBe(false);
      },
    );

    it("is over when what the backend raised is well below the limit that the camera names now", async () => {
      await storage(88);
      await pass(10 * SECOND);
      await limited(91, 95);
      await pass(2 * MINUTE);
      expect(said("disk")).toEqual(["Storage is 88 % full"]);
      await limited(88, 95);
      await pass(2 * MINUTE);
      expect(said("disk")).toEqual(["Storage is 88 % full", null]);
    });
  });

  it("that the camera raises by a lower limit of its own stays until it is well below that, over a restart", async () => {
    const own = { alert: "disk", severity: "warning", message: "The camera's storage is 61 % full" };
    await storage(61);
    await place.say("cameras/north/alerts/disk", envelope("alert.raised", own, { seq: 7 }), { retain: true });
    await pass(MINUTE);
    expect([said("disk"), stands("disk")]).toEqual([[own.message], true]);
    await storage(56);
    await restart();
    await storage(52);
    await pass(MINUTE);
    expect([said("disk"), stands("disk")]).toEqual([[], true]);
    // A camera with a new disk does not know of it any more.
    await storage(50);
    await pass(MINUTE);
    expect(said("disk")).toEqual([null]);
  });

  it("is neither raised nor cleared by a reading of a backlog: it says how full it was", async () => {
    const late = (percent: number) =>
      north(
        "state/storage",
        envelope("resource.update", { total_bytes: 100, free_bytes: 100 - percent }, { historical: true }),
      );
    await storage(50);
    await late(90);
    await pass(MINUTE);
    expect(said("disk")).toEqual([]);
    await storage(90);
    await late(50);
    await pass(MINUTE);
    expect(said("disk")).toEqual(["Storage is 90 % full"]);
  });

  it("has the limit it was given", async () => {
    await running?.stop();
    await watch({ diskPercent: 50 });
    await storage(60);
    await pass(5 * SECOND);
    expect(said("disk")).toHaveLength(1);
  });
});

describe("failures", () => {
  async function captures(outcomes: string): Promise<void> {
    for (const outcome of outcomes) await event(outcome === "x" ? "capture.failed" : "capture.completed");
    await pass(5 * SECOND);
  }

  it("is raised when more than 10 % of the last 20 failed, cleared at half of that, and nothing is said of fewer than 10", async () => {
    await captures("xxx......");
    expect(said("failures")).toEqual([]);
    await captures(".");
    expect(said("failures")).toEqual(["3 of the last 10 pictures failed"]);
    await captures("..........");
    expect(said("failures")).toHaveLength(1);
    await captures("..");
    expect(said("failures")).toEqual(["3 of the last 10 pictures failed", null]);
    await captures("xxx");
    expect(said("failures")).toEqual(["3 of the last 10 pictures failed", null, "3 of the last 20 pictures failed"]);
  });

  it("is looked back at over a restart", async () => {
    await captures("xx.......");
    await restart();
    await captures("x");
    expect(said("failures")).toEqual(["3 of the last 10 pictures failed"]);
    await restart();
    await captures(".".repeat(20));
    expect(said("failures")).toEqual([null]);
  });
});

describe("job-queue", () => {
  const job = (name: string, status: string | null) =>
    place.say(
      `processing/farm/jobs/${name}`,
      status === null ? null : { job: name, type: "image_processing", status, progress: 0 },
      { retain: true },
    );
  const queue = async (from: number, to: number, status: string | null) => {
    for (let n = from; n <= to; n++) await job(`j${n}`, status);
    await pass(5 * SECOND);
  };

  it("is raised above ten that wait, and cleared at half as many", async () => {
    await queue(1, 10, "queued");
    expect(said("job-queue", "processing/farm")).toEqual([]);
    await queue(11, 11, "queued");
    expect(said("job-queue", "processing/farm")).toEqual(["11 jobs wait to be processed"]);
    await queue(1, 3, "processing");
    await queue(4, 5, null);
    expect(said("job-queue", "processing/farm")).toHaveLength(1);
    await queue(6, 6, "completed");
    expect(said("job-queue", "processing/farm")).toEqual(["11 jobs wait to be processed", null]);
  });

  it("does not count jobs of a backlog: they are over", async () => {
    for (let n = 1; n <= 11; n++) {
      const data = { job: `j${n}`, type: "image_processing", status: "queued", progress: 0 };
      const late = envelope("job.progress", data, { historical: true });
      await place.say(`processing/farm/jobs/j${n}`, late, { retain: true });
    }
    await pass(MINUTE);
    expect(said("job-queue", "processing/farm")).toEqual([]);
  });

  it("counts after a restart what still waits", async () => {
    await queue(1, 10, "queued");
    await restart();
    await queue(11, 11, "queued");
    expect(said("job-queue", "processing/farm")).toHaveLength(1);
  });

  it("is carried by the channels for alerts and jobs", async () => {
    await queue(1, 11, "queued");
    const topic = `${tree.root}/processing/farm/alerts/job-queue`;
    expect(place.entries.find((entry) => entry.topic === topic)?.channels).toEqual(["alerts", "jobs", "dashboard"]);
  });
});

describe("worker-silent", () => {
  const FARM = "processing/farm";
  const link = (status: string, session = "s1") => place.say(`${FARM}/link`, { status, session }, { retain: true });
  const working = () =>
    place.say(
      `${FARM}/jobs/j1`,
      { job: "j1", type: "image_processing", status: "processing", progress: 1 },
      { retain: true },
    );

  it("is raised when the service has been gone for five minutes, and cleared when it is back", async () => {
    await link("online");
    await pass(60 * MINUTE);
    await link("offline");
    await pass(4 * MINUTE);
    expect(said("worker-silent", FARM)).toEqual([]);
    await pass(2 * MINUTE);
    expect(said("worker-silent", FARM)).toEqual(["The processing service has been offline for more than 5 min"]);
    await link("online", "s2");
    await pass(5 * SECOND);
    expect(said("worker-silent", FARM)).toHaveLength(2);
    expect(stands("worker-silent", FARM)).toBe(false);
  });

  it("is not raised by the will of a connection that another has replaced, nor of one that speaks", async () => {
    await link("online", "s1");
    await link("online", "s2");
    await link("offline", "s1");
    await pass(10 * MINUTE);
    await link("offline", "s2");
    await place.say(`${FARM}/events/hello`, { a: 1 });
    await pass(10 * MINUTE);
    expect(said("worker-silent", FARM)).toEqual([]);
  });

  it("is raised of one that says nothing of the jobs it works on, and not of one that has none", async () => {
    await link("online");
    await pass(60 * MINUTE);
    await working();
    await pass(6 * MINUTE);
    expect(said("worker-silent", FARM)).toEqual([
      "The processing service has not reported on its jobs for more than 5 min",
    ]);
    await working();
    await pass(5 * SECOND);
    expect(said("worker-silent", FARM)).toHaveLength(2);
  });

  it("stands over a restart, and is not raised for the time in which nobody was there to hear", async () => {
    await link("offline");
    await pass(6 * MINUTE);
    await restart(60 * MINUTE);
    await pass(MINUTE);
    expect([said("worker-silent", FARM), stands("worker-silent", FARM)]).toEqual([[], true]);
    await link("online");
    await working();
    await pass(5 * SECOND);
    expect(said("worker-silent", FARM)).toEqual([null]);
    await restart(60 * MINUTE);
    await pass(4 * MINUTE);
    expect(said("worker-silent", FARM)).toEqual([]);
  });
});

describe("in trouble", () => {
  it("an alert that could not be kept is raised when the store takes writes again, once", async () => {
    await north("state/storage", { total_bytes: 100, free_bytes: 10 });
    refuse = true;
    await pass(MINUTE);
    expect(said("disk")).toEqual([]);
    refuse = false;
    await pass(MINUTE);
    expect(said("disk")).toHaveLength(1);
  });

  it("two nodes that watch one journal raise and clear each alert once", async () => {
    const first = running;
    await watch();
    for (const free of [10, 50, 10]) {
      await north("state/storage", { total_bytes: 100, free_bytes: free });
      await pass(5 * SECOND);
    }
    expect(said("disk")).toEqual(["Storage is 90 % full", null, "Storage is 90 % full"]);
    await first?.stop();
  });

  it("beyond maxCameras nothing is watched, and nothing grows", async () => {
    await running?.stop();
    const { journal, cluster, ingest } = place;
    const publish = ingest.publish.bind(ingest);
    running = await startAlerts({ journal, documents: cluster.documents, tree, publish, maxCameras: 1, logger });
    await north("state/storage", { total_bytes: 100, free_bytes: 10 });
    await place.say("cameras/south/state/storage", { total_bytes: 100, free_bytes: 10 }, { retain: true });
    await pass(5 * SECOND);
    expect([stands("disk"), stands("disk", "cameras/south")]).toEqual([true, false]);
  });
});

it("logs when it stops how often it has raised an alert again", async () => {
  const recording = recordingLogger();
  await running?.stop();
  const { journal, cluster, ingest } = place;
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
