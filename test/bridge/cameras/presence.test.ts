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
  journal.say(LINK, { status, session, ...(until === undefined ? {} : { until }) }, { retain: true });
}

/** Connects at the broker and publishes the birth, as the camera agent does. */
function comeOnline(session = "s1"): void {
  link.connections.add("device:north");
  say("online", session);
  vi.advanceTimersByTime(1000);
}

/** The link drops; the broker publishes the will. */
function drop(session = "s1"): void {
  link.connections.delete("device:north");
  say("offline", session);
}

const events = () => published(journal, PRESENCE).map(({ event }) => event);
const status = () => presence.of("north")?.status;

describe("a camera's presence", () => {
  it("is online from its birth, published as state with session and time", () => {
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

  it("is undefined while nothing was heard of it", () => {
    expect(presence.of("north")).toBeUndefined();
  });

  it("becomes offline 30 s after its will, and not before", () => {
    comeOnline();
    drop();
    vi.advanceTimersByTime(29_000);
    expect(status()).toBe("online");
    vi.advanceTimersByTime(2000);
    expect(events()).toEqual(["camera.online", "camera.offline"]);
  });

  it("is offline since its link broke, and says when the camera was last heard", () => {
    comeOnline();
    journal.say(CAPTURED, {});
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

  it("says nothing of a link that is back within the grace", () => {
    comeOnline();
    drop();
    vi.advanceTimersByTime(20_000);
    comeOnline();
    vi.advanceTimersByTime(120_000);
    expect(events()).toEqual(["camera.online"]);
  });

  it("says so when what is back within the grace is another boot", () => {
    comeOnline("s1");
    drop("s1");
    comeOnline("s2");
    expect(events()).toEqual(["camera.online", "camera.online"]);
    expect(presence.of("north")?.session).toBe("s2");
  });

  it("is not moved by the will of another session", () => {
    comeOnline("s1");
    comeOnline("s2");
    say("offline", "s1");
    link.connections.clear();
    link.connections.add("device:north");
    vi.advanceTimersByTime(120_000);
    expect(status()).toBe("online");
  });

  it("is not moved by a will of its own session that comes after the client took over its old connection", () => {
    comeOnline();
    say("offline", "s1");
    vi.advanceTimersByTime(300_000);
    expect(events()).toEqual(["camera.online"]);
    link.connections.clear();
    vi.advanceTimersByTime(31_000);
    expect(status()).toBe("offline");
  });

  it("does not stay in doubt when the camera is heard after the will", () => {
    comeOnline();
    say("offline");
    journal.say({ kind: "camera-state", camera: "north", name: "storage" }, {});
    vi.advanceTimersByTime(120_000);
    expect(events()).toEqual(["camera.online"]);
  });

  it("stays in doubt with a picture that it sent before its will, and that was kept after it", () => {
    link.connections.add("device:north");
    say("online");
    drop();
    journal.say({ kind: "camera-preview", camera: "north", capture: "c1" }, {});
    vi.advanceTimersByTime(32_000);
    expect(events()).toEqual(["camera.online", "camera.offline"]);
  });

  it("becomes offline when its client is gone without a will", () => {
    comeOnline();
    link.connections.clear();
    vi.advanceTimersByTime(33_000);
    expect(status()).toBe("offline");
  });

  it("is not offline because a gateway speaks for it, under a client of its own", () => {
    say("online");
    vi.advanceTimersByTime(600_000);
    expect(status()).toBe("online");
  });

  it("is online again when an offline camera is heard", () => {
    comeOnline();
    drop();
    vi.advanceTimersByTime(40_000);
    journal.say(CAPTURED, {});
    expect(events()).toEqual(["camera.online", "camera.offline", "camera.online"]);
  });

  it("is not moved by a link that cannot be read", () => {
    comeOnline();
    journal.say(LINK, { status: "gone" });
    journal.say(LINK, null);
    vi.advanceTimersByTime(120_000);
    expect(events()).toEqual(["camera.online"]);
  });
});

describe("after a restart", () => {
  function restart(awayMs = 5000): void {
    presence.stop();
    const watchedUntil = Date.now();
    link.connections.clear();
    vi.advanceTimersByTime(awayMs);
    presence = start({ watchedUntil });
  }

  it("a camera that was there is unknown for the grace, then offline since the server last followed it", () => {
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

  it("a camera that was offline stays so, since then, and is not published again", () => {
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

  it("a camera that had just come back when the server was killed is unknown for the grace, then offline since its birth", () => {
    comeOnline();
    drop();
    vi.advanceTimersByTime(60_000);
    presence.stop();
    const bornAt = new Date(Date.now()).toISOString();
    // Kept, and the server killed before anybody made something of it.
    say("online", "s2");
    vi.advanceTimersByTime(5000);
    presence = start();
    expect(status()).toBe("unknown");
    vi.advanceTimersByTime(32_000);
    expect(presence.of("north")).toMatchObject({ status: "offline", offline_since: bornAt, last_heard_at: bornAt });
    expect(events()).toEqual(["camera.online", "camera.offline", "camera.unknown", "camera.offline"]);
  });

  it("a camera that the server before this one left unknown is offline since the last that was heard of it", () => {
    comeOnline();
    const heardAt = new Date(START).toISOString();
    presence.stop();
    link.connections.clear();
    vi.advanceTimersByTime(5000);
    presence = start();
    vi.advanceTimersByTime(32_000);
    expect(presence.of("north")).toMatchObject({ status: "offline", offline_since: heardAt });
  });

  it("a camera that sleeps goes on to sleep, and has overslept when it does not wake", () => {
    comeOnline();
    say("sleeping", "s1", new Date(Date.now() + 3_600_000).toISOString());
    drop();
    restart(1_800_000);
    expect(status()).toBe("sleeping");
    vi.advanceTimersByTime(1_800_000 + 31_000);
    expect(status()).toBe("overslept");
    expect(events()).toEqual(["camera.online", "camera.sleeping", "camera.overslept"]);
  });

  it("a camera that is unknown already is not published again", () => {
    comeOnline();
    restart();
    restart();
    expect(events()).toEqual(["camera.online", "camera.unknown"]);
  });

  it.each([
    ["its birth", () => say("online")],
    ["an event", () => journal.say(CAPTURED, {})],
    ["a state", () => journal.say({ kind: "camera-state", camera: "north", name: "power" }, {}, { retain: true })],
    ["a reply", () => journal.say({ kind: "camera-reply", camera: "north", command: "reboot" }, {})],
  ])("it is online with %s", (_name, speak) => {
    comeOnline();
    restart();
    speak();
    expect(status()).toBe("online");
  });

  it.each([
    ["events of its backlog", () => journal.say(CAPTURED, {}, { historical: true })],
    ["a command to it", () => journal.say({ kind: "camera-command", camera: "north", command: "reboot" }, {})],
    [
      "an alert of the backend about it",
      () => journal.say({ kind: "camera-alert", camera: "north", name: "duplicate-client-id" }, {}, { retain: true }),
    ],
  ])("it stays unknown with %s", (_name, speak) => {
    comeOnline();
    restart();
    speak();
    expect(status()).toBe("unknown");
  });

  it("a camera that connected before its presence was followed is online, once", () => {
    comeOnline();
    presence.stop();
    vi.advanceTimersByTime(5000);
    presence = start();
    vi.advanceTimersByTime(5000);
    expect(events()).toEqual(["camera.online", "camera.online"]);
  });

  it("the ghost of a will that comes late makes it offline only if it is really gone", () => {
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

  it("a will of a session that was not its last is ignored", () => {
    comeOnline("s2");
    restart();
    say("offline", "s1");
    vi.advanceTimersByTime(60_000);
    expect(presence.of("north")).toMatchObject({ status: "offline", session: "s2" });
  });

  it("its interval is still known", () => {
    journal.say({ kind: "camera-about", camera: "north" }, { capture_interval_s: 60 }, { retain: true });
    restart();
    comeOnline();
    vi.advanceTimersByTime(121_000);
    expect(status()).toBe("stale");
  });
});

describe("a sleeping camera", () => {
  const UNTIL = new Date(START + 3_600_000).toISOString();

  it("is sleeping, with the time it named, and its will changes nothing", () => {
    comeOnline();
    say("sleeping", "s1", UNTIL);
    drop();
    vi.advanceTimersByTime(3_600_000);
    expect(presence.of("north")).toMatchObject({ status: "sleeping", until: UNTIL });
    expect(events()).toEqual(["camera.online", "camera.sleeping"]);
  });

  it("that does not come back when it said has overslept after the grace, since the moment it named", () => {
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

  it("that has overslept stays so with the will of its session, and is online when it wakes", () => {
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
  ])("whose clock is a day %s sleeps as long as it said, and not a day", (_, offMs) => {
    comeOnline();
    const [timestamp = "", until = ""] = [0, 3_600_000].map((ms) => new Date(Date.now() + offMs + ms).toISOString());
    journal.say(LINK, { status: "sleeping", session: "s1", until }, { retain: true, timestamp });
    const wakesAt = new Date(Date.now() + 3_600_000).toISOString();
    drop();
    vi.advanceTimersByTime(3_600_000);
    expect(presence.of("north")).toMatchObject({ status: "sleeping", until: wakesAt });
    vi.advanceTimersByTime(31_000);
    expect(status()).toBe("overslept");
  });

  it("is online when it wakes", () => {
    comeOnline();
    say("sleeping", "s1", UNTIL);
    drop();
    vi.advanceTimersByTime(1_800_000);
    comeOnline("s2");
    expect(status()).toBe("online");
  });

  it("of another session does not put this one to sleep", () => {
    comeOnline("s2");
    say("sleeping", "s1", UNTIL);
    expect(status()).toBe("online");
  });
});

describe("a stale camera", () => {
  beforeEach(() => {
    journal.say({ kind: "camera-about", camera: "north" }, { capture_interval_s: 60 }, { retain: true });
    comeOnline();
  });

  it("is connected, and took no picture in twice its interval", () => {
    vi.advanceTimersByTime(118_000);
    expect(status()).toBe("online");
    vi.advanceTimersByTime(3000);
    expect(events().at(-1)).toBe("camera.stale");
  });

  it("is online again with a picture, and stale again without", () => {
    vi.advanceTimersByTime(125_000);
    journal.say(CAPTURED, {});
    expect(status()).toBe("online");
    vi.advanceTimersByTime(100_000);
    expect(status()).toBe("online");
    vi.advanceTimersByTime(25_000);
    expect(status()).toBe("stale");
  });

  it("is not made fresh by a picture of its backlog", () => {
    vi.advanceTimersByTime(125_000);
    journal.say(CAPTURED, {}, { historical: true });
    expect(status()).toBe("stale");
  });

  it("is none while its schedule takes no pictures, or before the picture it announced is due", () => {
    const CAPTURE = { kind: "camera-state", camera: "north", name: "capture" } as const;
    journal.say(CAPTURE, { active: false, captures_completed: 1 }, { retain: true });
    vi.advanceTimersByTime(3_600_000);
    expect(status()).toBe("online");
    const next_capture_at = new Date(Date.now() + 600_000).toISOString();
    journal.say(CAPTURE, { active: true, captures_completed: 1, next_capture_at }, { retain: true });
    vi.advanceTimersByTime(655_000);
    expect(status()).toBe("online");
    vi.advanceTimersByTime(10_000);
    expect(status()).toBe("stale");
  });

  it("is none because its interval becomes shorter: pictures are expected by that from then on", () => {
    const ABOUT = { kind: "camera-about", camera: "north" } as const;
    vi.advanceTimersByTime(100_000);
    journal.say(ABOUT, { capture_interval_s: 10 }, { retain: true });
    vi.advanceTimersByTime(18_000);
    expect(status()).toBe("online");
    vi.advanceTimersByTime(5000);
    expect(status()).toBe("stale");
    journal.say(ABOUT, { capture_interval_s: 5 }, { retain: true });
    vi.advanceTimersByTime(2000);
    expect(status()).toBe("stale");
  });

  it("is so though the clock by which it announced its next picture is a day ahead", () => {
    const next_capture_at = new Date(Date.now() + 86_460_000).toISOString();
    const timestamp = new Date(Date.now() + 86_400_000).toISOString();
    const capture = { active: true, captures_completed: 1, next_capture_at };
    journal.say({ kind: "camera-state", camera: "north", name: "capture" }, capture, { retain: true, timestamp });
    vi.advanceTimersByTime(122_000);
    expect(status()).toBe("stale");
  });

  it("becomes offline when its link goes", () => {
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

  it("that never came is never_seen, since it is known, and published so", () => {
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

  it("is online when it comes", () => {
    register({ id: "north", kind: "camera" });
    comeOnline();
    expect(events()).toEqual(["camera.never_seen", "camera.online"]);
  });

  it("that came before is what it was, not never_seen", () => {
    comeOnline();
    register({ id: "north", kind: "camera" });
    expect(events()).not.toContain("camera.never_seen");
  });

  it("is never_seen again when it was removed and added, with nothing of what it was", () => {
    comeOnline();
    register({ id: "north", kind: "camera" });
    add({ id: "north", kind: "camera" });
    journal.say({ kind: "camera-state", camera: "north", name: "presence" }, null, { retain: true });
    expect(presence.of("north")).toEqual({ status: "never_seen", since: expect.any(String) });
  });

  it("is gone when it is removed", () => {
    register({ id: "north", kind: "camera" });
    journal.say({ kind: "camera-state", camera: "north", name: "presence" }, null, { retain: true });
    vi.advanceTimersByTime(60_000);
    expect(presence.of("north")).toBeUndefined();
  });
});

describe("a system clock that jumps", () => {
  let ownClock: number;

  beforeEach(() => {
    presence.stop();
    ownClock = START;
    const ticking = setInterval(() => {
      ownClock += 500;
    }, 500);
    presence = start({ now: () => ownClock });
    return () => clearInterval(ticking);
  });

  it("makes no camera offline, stale or overslept", () => {
    journal.say({ kind: "camera-about", camera: "north" }, { capture_interval_s: 60 }, { retain: true });
    comeOnline();
    vi.setSystemTime(START + 2 * 86_400_000);
    vi.advanceTimersByTime(30_000);
    expect(status()).toBe("online");
  });

  it("leaves the moments that are shown by the system's clock", () => {
    vi.setSystemTime(START + 2 * 86_400_000);
    comeOnline();
    vi.advanceTimersByTime(30_000);
    expect(presence.of("north")?.since).toBe(new Date(START + 2 * 86_400_000).toISOString());
  });
});

describe("a store that takes no writes", () => {
  it("delays what is published, and loses none of it", async () => {
    comeOnline();
    journal.trouble = "disk full";
    drop();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(status()).toBe("offline");
    expect(events()).toEqual(["camera.online"]);
    journal.trouble = undefined;
    await vi.advanceTimersByTimeAsync(2000);
    expect(events()).toEqual(["camera.online", "camera.offline"]);
  });
});

describe("the limit MAX_CAMERAS", () => {
  it("leaves further cameras out, and goes on with those it has", () => {
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
    journal.say({ kind: "camera-link", camera: "south" }, { status: "online", session: "s1" });
    expect(presence.of("south")).toBeUndefined();
    expect(status()).toBe("online");
  });
});

it("logs when it stops how many changes of a camera it has only counted", async () => {
  const { logger, lines } = recordingLogger();
  await presence.stop();
  presence = start({ logger });
  for (let session = 1; session <= 3; session++) comeOnline(`s${session}`);
  const changes = () => lines.filter(({ msg }) => msg === "camera presence changed").map(({ times }) => times);
  expect(changes()).toEqual([1]);
  await presence.stop();
  expect(changes()).toEqual([1, 2]);
});
