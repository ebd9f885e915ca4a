import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type PresenceOptions, type PresenceService, startPresence } from "../../../bridge/cameras/presence.ts";
import { presenceSchema } from "../../../contract/events.ts";
import { topicTree } from "../../../contract/topics.ts";
import { type MemoryJournal, memoryJournal, published } from "../support/memory-journal.ts";
import { type RecordingLink, recordingLink } from "../support/recording-link.ts";
import { recordingLogger } from "../support/recording-logger.ts";

const tree = topicTree();
const PRESENCE = tree.build({ kind: "camera-state", camera: "north", name: "presence" });
const LINK = { kind: "camera-link", camera: "north" } as const;
const CAPTURED = { kind: "camera-event", camera: "north", event: "capture.completed" } as const;
const START = Date.parse("2026-03-01T06:30:00.000Z");

let journal: MemoryJournal;
let link: RecordingLink;
let presence: PresenceService;

beforeEach(() => {
  vi.useFakeTimers({ now: START });
  journal = memoryJournal(tree);
  link = recordingLink();
  presence = start();
});
afterEach(() => {
  presence.stop();
  vi.useRealTimers();
});

function start(more: Partial<PresenceOptions> = {}): PresenceService {
  return startPresence({ journal, tree, publish: journal.publish, link, logger: pino({ level: "silent" }), ...more });
}

function say(status: "online" | "offline" | "sleeping", session = "s1", until?: string): void {
  journal.receive(LINK, { status, session, ...(until === undefined ? {} : { until }) }, { retain: true });
}

/** Connects to the broker and publishes the birth, like the camera agent. */
function comeOnline(session = "s1"): void {
  link.connections.add("device:north");
  say("online", session);
  vi.advanceTimersByTime(1000);
}

/** Breaks the link; the broker publishes the will. */
function drop(session = "s1"): void {
  link.connections.delete("device:north");
  say("offline", session);
}

const events = () => published(journal, PRESENCE).map(({ event }) => event);
const status = () => presence.of("north")?.status;

describe("a camera's presence", () => {
  it("is online from the camera's birth, and is published as state with session and time", () => {
    comeOnline();
    const [only, ...more] = published(journal, PRESENCE);
    expect(only?.event).toBe("camera.online");
    expect(presenceSchema.parse(only?.data)).toEqual({
      status: "online",
      since: new Date(START).toISOString(),
      session: "s1",
    });
    expect(more).toEqual([]);
    expect(journal.state(PRESENCE)?.position).toBe(2);
  });

  it("is undefined before its first message", () => {
    expect(presence.of("north")).toBeUndefined();
  });

  it("becomes offline 30 s after the camera's will, and not earlier", () => {
    comeOnline();
    drop();
    vi.advanceTimersByTime(29_000);
    expect(status()).toBe("online");
    vi.advanceTimersByTime(2000);
    expect(events()).toEqual(["camera.online", "camera.offline"]);
  });

  it("is offline since the link broke, and contains the time of the last message", () => {
    comeOnline();
    journal.receive(CAPTURED, {});
    vi.advanceTimersByTime(20_000);
    drop();
    const brokeAt = Date.now();
    vi.advanceTimersByTime(3_600_000);
    expect(presence.of("north")).toEqual({
      ...{ status: "offline", since: new Date(brokeAt).toISOString(), session: "s1" },
      ...{ offline_since: new Date(brokeAt).toISOString(), last_heard_at: new Date(brokeAt - 20_000).toISOString() },
    });
    expect(published(journal, PRESENCE).at(-1)?.data).toEqual(presence.of("north"));
  });

  it("does not change when the link is back within the grace period", () => {
    comeOnline();
    drop();
    vi.advanceTimersByTime(20_000);
    comeOnline();
    vi.advanceTimersByTime(120_000);
    expect(events()).toEqual(["camera.online"]);
  });

  it("is published again when the camera connects with a new session within the grace period", () => {
    comeOnline("s1");
    drop("s1");
    comeOnline("s2");
    expect(events()).toEqual(["camera.online", "camera.online"]);
    expect(presence.of("north")?.session).toBe("s2");
  });

  it("ignores the will of another session", () => {
    comeOnline("s1");
    comeOnline("s2");
    say("offline", "s1");
    link.connections.clear();
    link.connections.add("device:north");
    vi.advanceTimersByTime(120_000);
    expect(status()).toBe("online");
  });

  it("ignores a will of the same session that arrives after the client took over its old connection", () => {
    comeOnline();
    say("offline", "s1");
    vi.advanceTimersByTime(300_000);
    expect(events()).toEqual(["camera.online"]);
    link.connections.clear();
    vi.advanceTimersByTime(31_000);
    expect(status()).toBe("offline");
  });

  it("ends the grace period when a message arrives after the will", () => {
    comeOnline();
    say("offline");
    journal.receive({ kind: "camera-state", camera: "north", name: "storage" }, {});
    vi.advanceTimersByTime(120_000);
    expect(events()).toEqual(["camera.online"]);
  });

  it("does not end the grace period for a preview that was sent before the will and stored after it", () => {
    link.connections.add("device:north");
    say("online");
    drop();
    journal.receive({ kind: "camera-preview", camera: "north", capture: "c1" }, {});
    vi.advanceTimersByTime(32_000);
    expect(events()).toEqual(["camera.online", "camera.offline"]);
  });

  it("becomes offline when the camera's client disconnects without a will", () => {
    comeOnline();
    link.connections.clear();
    vi.advanceTimersByTime(33_000);
    expect(status()).toBe("offline");
  });

  it("is online again when the connection that it had is back, because its node was frozen", () => {
    comeOnline();
    link.connections.clear();
    vi.advanceTimersByTime(31_000);
    expect(status()).toBe("offline");
    link.connections.add("device:north");
    vi.advanceTimersByTime(1000);
    expect(events()).toEqual(["camera.online", "camera.offline", "camera.online"]);
  });

  it("stays offline after its will until a message arrives, although its client connects", () => {
    comeOnline();
    drop();
    vi.advanceTimersByTime(31_000);
    link.connections.add("device:north");
    vi.advanceTimersByTime(5000);
    expect(events()).toEqual(["camera.online", "camera.offline"]);
  });

  it("stays online while a gateway publishes for the camera with another client", () => {
    say("online");
    vi.advanceTimersByTime(600_000);
    expect(status()).toBe("online");
  });

  it("is online again when a message of an offline camera arrives", () => {
    comeOnline();
    drop();
    vi.advanceTimersByTime(40_000);
    journal.receive(CAPTURED, {});
    expect(events()).toEqual(["camera.online", "camera.offline", "camera.online"]);
  });

  it("ignores an invalid link message", () => {
    comeOnline();
    journal.receive(LINK, { status: "gone" });
    journal.receive(LINK, null);
    vi.advanceTimersByTime(120_000);
    expect(events()).toEqual(["camera.online"]);
  });
});

describe("after a restart", () => {
  function restart(stoppedMs = 5000): void {
    presence.stop();
    const watchedUntil = Date.now();
    link.connections.clear();
    vi.advanceTimersByTime(stoppedMs);
    presence = start({ watchedUntil });
  }

  it("a camera that was online is unknown during the grace period, then offline since the time when the server stopped", () => {
    comeOnline();
    vi.advanceTimersByTime(60_000);
    const stoppedAt = new Date(Date.now()).toISOString();
    restart(3_600_000);
    expect(presence.of("north")).toMatchObject({ status: "unknown", last_heard_at: stoppedAt });
    expect(events()).toEqual(["camera.online", "camera.unknown"]);
    vi.advanceTimersByTime(29_000);
    expect(status()).toBe("unknown");
    vi.advanceTimersByTime(2000);
    expect(presence.of("north")).toMatchObject({
      ...{ status: "offline", since: stoppedAt, offline_since: stoppedAt, last_heard_at: stoppedAt },
    });
    expect(events()).toEqual(["camera.online", "camera.unknown", "camera.offline"]);
  });

  it("a camera that was offline stays offline since the same time, and is not published again", () => {
    comeOnline();
    drop();
    vi.advanceTimersByTime(60_000);
    const before = presence.of("north");
    restart(3_600_000);
    restart(3_600_000);
    vi.advanceTimersByTime(60_000);
    expect(presence.of("north")).toEqual(before);
    expect(events()).toEqual(["camera.online", "camera.offline"]);
    comeOnline();
    expect(status()).toBe("online");
  });

  it("a camera that reconnected just before the server was killed is unknown during the grace period, then offline since its birth", () => {
    comeOnline();
    drop();
    vi.advanceTimersByTime(60_000);
    presence.stop();
    const bornAt = new Date(Date.now()).toISOString();
    // The message is in the journal, but the server was killed before presence handled the message.
    say("online", "s2");
    vi.advanceTimersByTime(5000);
    presence = start();
    expect(status()).toBe("unknown");
    vi.advanceTimersByTime(32_000);
    expect(presence.of("north")).toMatchObject({ status: "offline", offline_since: bornAt, last_heard_at: bornAt });
    expect(events()).toEqual(["camera.online", "camera.offline", "camera.unknown", "camera.offline"]);
  });

  it("a camera whose first birth is all that the journal has of it is unknown during the grace period, then offline", () => {
    presence.stop();
    // The server was killed before presence handled the message.
    say("online");
    presence = start();
    expect(status()).toBe("unknown");
    vi.advanceTimersByTime(32_000);
    expect(events()).toEqual(["camera.unknown", "camera.offline"]);
  });

  it("a camera of which only a will is left stays unknown to presence, because it may have been removed", () => {
    presence.stop();
    say("offline");
    presence = start();
    vi.advanceTimersByTime(60_000);
    expect(presence.of("north")).toBeUndefined();
    expect(events()).toEqual([]);
  });

  it("a camera is offline since its last message if the time of the server's stop is unknown", () => {
    comeOnline();
    const heardAt = new Date(START).toISOString();
    presence.stop();
    link.connections.clear();
    vi.advanceTimersByTime(5000);
    presence = start();
    vi.advanceTimersByTime(32_000);
    expect(presence.of("north")).toMatchObject({ status: "offline", offline_since: heardAt });
  });

  it("a sleeping camera stays asleep, and has overslept if it does not wake up", () => {
    comeOnline();
    say("sleeping", "s1", new Date(Date.now() + 3_600_000).toISOString());
    drop();
    restart(1_800_000);
    expect(status()).toBe("sleeping");
    vi.advanceTimersByTime(1_800_000 + 31_000);
    expect(status()).toBe("overslept");
    expect(events()).toEqual(["camera.online", "camera.sleeping", "camera.overslept"]);
  });

  it("a camera that is already unknown is not published again", () => {
    comeOnline();
    restart();
    restart();
    expect(events()).toEqual(["camera.online", "camera.unknown"]);
  });

  it.each([
    ["its birth", () => say("online")],
    ["an event", () => journal.receive(CAPTURED, {})],
    ["a state", () => journal.receive({ kind: "camera-state", camera: "north", name: "power" }, {}, { retain: true })],
    ["a reply", () => journal.receive({ kind: "camera-reply", camera: "north", command: "reboot" }, {})],
  ])("a camera is online after %s", (_name, publish) => {
    comeOnline();
    restart();
    publish();
    expect(status()).toBe("online");
  });

  it.each([
    ["an event of its backlog", () => journal.receive(CAPTURED, {}, { historical: true })],
    ["a command to it", () => journal.receive({ kind: "camera-command", camera: "north", command: "reboot" }, {})],
    [
      "an alert of the backend about the camera",
      () =>
        journal.receive({ kind: "camera-alert", camera: "north", name: "duplicate-client-id" }, {}, { retain: true }),
    ],
  ])("a camera stays unknown after %s", (_name, publish) => {
    comeOnline();
    restart();
    publish();
    expect(status()).toBe("unknown");
  });

  it("a camera that connected before presence started is published once, as online", () => {
    comeOnline();
    presence.stop();
    vi.advanceTimersByTime(5000);
    presence = start();
    vi.advanceTimersByTime(5000);
    expect(events()).toEqual(["camera.online", "camera.online"]);
  });

  it("a late will of a crashed broker does not make a connected camera offline", () => {
    comeOnline();
    restart();
    say("offline");
    vi.advanceTimersByTime(10_000);
    expect(status()).toBe("unknown");
    comeOnline();
    say("offline");
    vi.advanceTimersByTime(60_000);
    expect(status()).toBe("online");
  });

  it("the will of an earlier session is ignored", () => {
    comeOnline("s2");
    restart();
    say("offline", "s1");
    vi.advanceTimersByTime(60_000);
    expect(presence.of("north")).toMatchObject({ status: "offline", session: "s2" });
  });

  it("the capture interval is still known", () => {
    journal.receive({ kind: "camera-about", camera: "north" }, { capture_interval_s: 60 }, { retain: true });
    restart();
    comeOnline();
    vi.advanceTimersByTime(121_000);
    expect(status()).toBe("stale");
  });
});

describe("after another node has watched the cameras until now", () => {
  /** @param leftAt when the camera's client disconnected. Default: this node has never seen a client of the camera */
  async function takeOver(leftAt?: number): Promise<void> {
    const watchedUntil = Date.now();
    vi.advanceTimersByTime(10_000);
    await presence.stop();
    link.leftAt = () => leftAt;
    presence = start({ trusted: true, watchedUntil });
  }

  it.each([
    ["with", ["device:north"]],
    ["without", []],
  ])(
    "a camera %s a client of its own is online after its first birth, which that node could not publish any more",
    async (_with, connections) => {
      await presence.stop();
      for (const identity of connections) link.connections.add(identity);
      say("online");
      await takeOver();
      vi.advanceTimersByTime(60_000);
      expect(events()).toEqual(["camera.online"]);
    },
  );

  it("a camera that disconnected without a will when nobody watched becomes offline", async () => {
    comeOnline();
    link.connections.clear();
    await takeOver(Date.now() + 5_000);
    expect(status()).toBe("online");
    vi.advanceTimersByTime(31_000);
    expect(events()).toEqual(["camera.online", "camera.offline"]);
  });

  it("a camera without a client of its own stays online, also if it had a client long ago", async () => {
    say("online");
    for (const leftAt of [undefined, Date.now() - 60_000]) {
      await takeOver(leftAt);
      vi.advanceTimersByTime(31_000);
    }
    expect(events()).toEqual(["camera.online"]);
  });
});

describe("a sleeping camera", () => {
  const UNTIL = new Date(START + 3_600_000).toISOString();

  it("is sleeping until the announced time, and its will changes nothing", () => {
    comeOnline();
    say("sleeping", "s1", UNTIL);
    drop();
    vi.advanceTimersByTime(3_600_000);
    expect(presence.of("north")).toMatchObject({ status: "sleeping", until: UNTIL });
    expect(events()).toEqual(["camera.online", "camera.sleeping"]);
  });

  it("has overslept when it does not return within the grace period after the announced time", () => {
    comeOnline();
    say("sleeping", "s1", UNTIL);
    drop();
    expect(presence.of("north")?.offline_since).toBeUndefined();
    vi.advanceTimersByTime(3_600_000 + 31_000);
    expect(presence.of("north")).toMatchObject({
      ...{ status: "overslept", since: UNTIL, until: UNTIL, offline_since: UNTIL },
    });
    expect(events()).toEqual(["camera.online", "camera.sleeping", "camera.overslept"]);
  });

  it("stays overslept after the will of its session, and is online when it wakes up", () => {
    comeOnline();
    say("sleeping", "s1", UNTIL);
    vi.advanceTimersByTime(3_600_000 + 31_000);
    drop();
    vi.advanceTimersByTime(60_000);
    expect(status()).toBe("overslept");
    comeOnline("s2");
    expect(presence.of("north")).toMatchObject({ status: "online" });
    expect(presence.of("north")?.until).toBeUndefined();
  });

  it.each([
    ["ahead", 86_400_000],
    ["behind", -86_400_000],
  ])("sleeps for the announced duration when its clock is a day %s", (_, offMs) => {
    comeOnline();
    const [timestamp = "", until = ""] = [0, 3_600_000].map((ms) => new Date(Date.now() + offMs + ms).toISOString());
    journal.receive(LINK, { status: "sleeping", session: "s1", until }, { retain: true, timestamp });
    const wakesAt = new Date(Date.now() + 3_600_000).toISOString();
    drop();
    vi.advanceTimersByTime(3_600_000);
    expect(presence.of("north")).toMatchObject({ status: "sleeping", until: wakesAt });
    vi.advanceTimersByTime(31_000);
    expect(status()).toBe("overslept");
  });

  it("is online when it wakes up", () => {
    comeOnline();
    say("sleeping", "s1", UNTIL);
    drop();
    vi.advanceTimersByTime(1_800_000);
    comeOnline("s2");
    expect(status()).toBe("online");
  });

  it("is still online after a sleep message of another session", () => {
    comeOnline("s2");
    say("sleeping", "s1", UNTIL);
    expect(status()).toBe("online");
  });
});

describe("a stale camera", () => {
  beforeEach(() => {
    journal.receive({ kind: "camera-about", camera: "north" }, { capture_interval_s: 60 }, { retain: true });
    comeOnline();
  });

  it("is connected and took no picture in two intervals", () => {
    vi.advanceTimersByTime(118_000);
    expect(status()).toBe("online");
    vi.advanceTimersByTime(3000);
    expect(events().at(-1)).toBe("camera.stale");
  });

  it("is online after a capture, and stale again without one", () => {
    vi.advanceTimersByTime(125_000);
    journal.receive(CAPTURED, {});
    expect(status()).toBe("online");
    vi.advanceTimersByTime(100_000);
    expect(status()).toBe("online");
    vi.advanceTimersByTime(25_000);
    expect(status()).toBe("stale");
  });

  it("stays stale after a capture from its backlog", () => {
    vi.advanceTimersByTime(125_000);
    journal.receive(CAPTURED, {}, { historical: true });
    expect(status()).toBe("stale");
  });

  it("is not stale while its schedule is not active, or before the announced next capture is due", () => {
    const CAPTURE = { kind: "camera-state", camera: "north", name: "capture" } as const;
    journal.receive(CAPTURE, { active: false, captures_completed: 1 }, { retain: true });
    vi.advanceTimersByTime(3_600_000);
    expect(status()).toBe("online");
    const next_capture_at = new Date(Date.now() + 600_000).toISOString();
    journal.receive(CAPTURE, { active: true, captures_completed: 1, next_capture_at }, { retain: true });
    vi.advanceTimersByTime(655_000);
    expect(status()).toBe("online");
    vi.advanceTimersByTime(10_000);
    expect(status()).toBe("stale");
  });

  it("is not stale at once when its interval becomes shorter", () => {
    const ABOUT = { kind: "camera-about", camera: "north" } as const;
    vi.advanceTimersByTime(100_000);
    journal.receive(ABOUT, { capture_interval_s: 10 }, { retain: true });
    vi.advanceTimersByTime(18_000);
    expect(status()).toBe("online");
    vi.advanceTimersByTime(5000);
    expect(status()).toBe("stale");
    journal.receive(ABOUT, { capture_interval_s: 5 }, { retain: true });
    vi.advanceTimersByTime(2000);
    expect(status()).toBe("stale");
  });

  it("is stale even if its clock, and thus the time of the announced next capture, is a day ahead", () => {
    const next_capture_at = new Date(Date.now() + 86_460_000).toISOString();
    const timestamp = new Date(Date.now() + 86_400_000).toISOString();
    const capture = { active: true, captures_completed: 1, next_capture_at };
    journal.receive({ kind: "camera-state", camera: "north", name: "capture" }, capture, { retain: true, timestamp });
    vi.advanceTimersByTime(122_000);
    expect(status()).toBe("stale");
  });

  it("becomes offline when its link breaks", () => {
    vi.advanceTimersByTime(125_000);
    drop();
    vi.advanceTimersByTime(31_000);
    expect(status()).toBe("offline");
  });
});

describe("a registered camera", () => {
  interface Registered {
    id: string;
    kind: "camera" | "processing";
  }
  let add: (device: Registered) => void;

  function register(...registered: Registered[]): void {
    const described = registered.map((device) => ({ ...device, certificateName: undefined, changedAt: START }));
    presence.stop();
    presence = start({
      devices: {
        list: () => described,
        onAdd(listener) {
          add = listener;
          return () => {};
        },
      },
    });
  }

  it("that never connected is published as never_seen as soon as its registration is known", () => {
    register({ id: "north", kind: "camera" }, { id: "worker", kind: "processing" });
    vi.advanceTimersByTime(600_000);
    expect(presence.of("north")).toEqual({ status: "never_seen", since: new Date(START).toISOString() });
    expect(events()).toEqual(["camera.never_seen"]);
    expect(presence.of("worker")).toBeUndefined();
  });

  it("is never_seen as soon as it is added", () => {
    register();
    add({ id: "north", kind: "camera" });
    expect(status()).toBe("never_seen");
  });

  it("is online when it connects", () => {
    register({ id: "north", kind: "camera" });
    comeOnline();
    expect(events()).toEqual(["camera.never_seen", "camera.online"]);
  });

  it("that connected before keeps its presence", () => {
    comeOnline();
    register({ id: "north", kind: "camera" });
    expect(events()).not.toContain("camera.never_seen");
  });

  it("is never_seen when it was removed and added again", () => {
    comeOnline();
    register({ id: "north", kind: "camera" });
    add({ id: "north", kind: "camera" });
    journal.receive({ kind: "camera-state", camera: "north", name: "presence" }, null, { retain: true });
    expect(presence.of("north")).toEqual({ status: "never_seen", since: expect.any(String) });
  });

  it("is unknown to presence after its removal", () => {
    register({ id: "north", kind: "camera" });
    journal.receive({ kind: "camera-state", camera: "north", name: "presence" }, null, { retain: true });
    vi.advanceTimersByTime(60_000);
    expect(presence.of("north")).toBeUndefined();
  });
});

describe("a system clock that jumps", () => {
  let ownClock: number;

  beforeEach(() => {
    presence.stop();
    ownClock = START;
    const ownClockTimer = setInterval(() => {
      ownClock += 500;
    }, 500);
    presence = start({ now: () => ownClock });
    return () => clearInterval(ownClockTimer);
  });

  it("makes no camera offline, stale or overslept", () => {
    journal.receive({ kind: "camera-about", camera: "north" }, { capture_interval_s: 60 }, { retain: true });
    comeOnline();
    vi.setSystemTime(START + 2 * 86_400_000);
    vi.advanceTimersByTime(30_000);
    expect(status()).toBe("online");
  });

  it("still determines the times in the published presence", () => {
    vi.setSystemTime(START + 2 * 86_400_000);
    comeOnline();
    vi.advanceTimersByTime(30_000);
    expect(presence.of("north")?.since).toBe(new Date(START + 2 * 86_400_000).toISOString());
  });
});

describe("an unavailable store", () => {
  it("delays publications, and loses no publication", async () => {
    comeOnline();
    journal.unavailableReason = "disk full";
    drop();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(status()).toBe("offline");
    expect(events()).toEqual(["camera.online"]);
    journal.unavailableReason = undefined;
    await vi.advanceTimersByTimeAsync(2000);
    expect(events()).toEqual(["camera.online", "camera.offline"]);
  });
});

describe("the limit MAX_CAMERAS", () => {
  it("excludes further cameras, and keeps watching the known cameras", () => {
    presence.stop();
    presence = startPresence({
      journal,
      tree,
      publish: journal.publish,
      link,
      maxCameras: 1,
      logger: pino({ level: "silent" }),
    });
    comeOnline();
    journal.receive({ kind: "camera-link", camera: "south" }, { status: "online", session: "s1" });
    expect(presence.of("south")).toBeUndefined();
    expect(status()).toBe("online");
  });
});

it("presence logs the number of suppressed lines when it stops", async () => {
  const { logger, lines } = recordingLogger();
  await presence.stop();
  presence = start({ logger });
  for (let session = 1; session <= 3; session++) comeOnline(`s${session}`);
  const changes = () => lines.filter(({ msg }) => msg === "camera presence changed").map(({ times }) => times);
  expect(changes()).toEqual([1]);
  await presence.stop();
  expect(changes()).toEqual([1, 2]);
});
