import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { startDuplicateDevices } from "../../../bridge/cameras/duplicate-devices.ts";
import { alertSchema } from "../../../contract/events.ts";
import { topicTree } from "../../../contract/topics.ts";
import { type MemoryJournal, memoryJournal, published } from "../support/memory-journal.ts";
import { type RecordingLink, recordingLink } from "../support/recording-link.ts";

const tree = topicTree();
const ALERT = tree.build({ kind: "camera-alert", camera: "north", name: "duplicate-client-id" });

let journal: MemoryJournal;
let link: RecordingLink;
let watch: { stop(): void };

beforeEach(() => {
  vi.useFakeTimers();
  journal = memoryJournal(tree);
  link = recordingLink();
  watch = start();
});
afterEach(() => {
  watch.stop();
  vi.useRealTimers();
});

function start() {
  return startDuplicateDevices({ link, journal, tree, publish: journal.publish, logger: pino({ level: "silent" }) });
}

async function takeOver(times: number, everyMs: number, clientId = "cam-1", identity = "device:north"): Promise<void> {
  for (let time = 0; time < times; time++) {
    link.takeOver(clientId, identity);
    await vi.advanceTimersByTimeAsync(everyMs);
  }
}

/** Takes the connection over and says its birth, for each of these boots. */
async function comeIn(sessions: readonly string[], everyMs: number): Promise<void> {
  for (const session of sessions) {
    link.takeOver("cam-1", "device:north");
    journal.say({ kind: "camera-link", camera: "north" }, { status: "online", session }, { retain: true });
    await vi.advanceTimersByTimeAsync(everyMs);
  }
}

const repeated = (sessions: readonly string[], times: number) => Array.from({ length: times }, () => sessions).flat();
const events = () => published(journal, ALERT).map(({ event }) => event);

describe("an alert of two devices with one client id", () => {
  it("is raised by the third take-over within a minute, once, and says what to do", async () => {
    await takeOver(2, 20_000);
    expect(events()).toEqual([]);
    await takeOver(5, 1000);
    expect(events()).toEqual(["alert.raised"]);
    expect(alertSchema.parse(published(journal, ALERT)[0]?.data)).toMatchObject({
      alert: "duplicate-client-id",
      severity: "warning",
      message: expect.stringContaining('"cam-1"'),
    });
  });

  it("is not raised by a link that flaps more slowly", async () => {
    await takeOver(20, 31_000);
    expect(events()).toEqual([]);
  });

  it("is not raised by different client ids of one camera", async () => {
    for (let time = 0; time < 6; time++) await takeOver(1, 1000, `cam-${time}`);
    expect(events()).toEqual([]);
  });

  it("is raised when two boots take turns, once", async () => {
    await comeIn(repeated(["s1", "s2"], 20), 1000);
    expect(events()).toEqual(["alert.raised"]);
  });

  it("is raised when one of the two boots anew in between", async () => {
    await comeIn(["s1", "s2", "s3", "s1", "s3"], 1000);
    expect(events()).toEqual(["alert.raised"]);
  });

  it("is raised, and stands, when two boots take turns as rarely as their back-off lets them", async () => {
    await comeIn(repeated(["s1", "s2"], 10), 290_000);
    expect(events()).toEqual(["alert.raised"]);
  });

  it("is not raised by one device that takes over its own half-open connection, however often", async () => {
    await comeIn(repeated(["s1"], 60), 1000);
    watch.stop();
    watch = start();
    // Not even when after a restart nothing but connections comes through.
    await takeOver(12, 5000);
    expect(events()).toEqual([]);
  });

  it("is not raised by one device that boots again and again", async () => {
    await comeIn(
      Array.from({ length: 60 }, (_, boot) => `s${boot}`),
      1000,
    );
    expect(events()).toEqual([]);
  });

  it("is cleared when one of the two is gone, though the link of the other flaps", async () => {
    await comeIn(repeated(["s1", "s2"], 10), 1000);
    await comeIn(repeated(["s1"], 200), 5000);
    expect(events()).toEqual(["alert.raised", "alert.cleared"]);
  });

  it("is cleared after two quiet minutes, and not while it goes on", async () => {
    await takeOver(3, 1000);
    await takeOver(10, 100_000);
    expect(events()).toEqual(["alert.raised"]);
    await vi.advanceTimersByTimeAsync(25_000);
    expect(events()).toEqual(["alert.raised", "alert.cleared"]);
    expect(journal.state(ALERT)).toBeUndefined();
  });

  it("that was raised before a restart is cleared after it", async () => {
    await takeOver(3, 1000);
    watch.stop();
    watch = start();
    await vi.advanceTimersByTimeAsync(125_000);
    expect(events()).toEqual(["alert.raised", "alert.cleared"]);
  });

  it("is raised and cleared later when the store takes no writes", async () => {
    journal.trouble = "disk full";
    await takeOver(3, 1000);
    journal.trouble = undefined;
    await takeOver(1, 1000);
    expect(events()).toEqual(["alert.raised"]);
    journal.trouble = "disk full";
    await vi.advanceTimersByTimeAsync(130_000);
    journal.trouble = undefined;
    await vi.advanceTimersByTimeAsync(2000);
    expect(events()).toEqual(["alert.raised", "alert.cleared"]);
  });

  it("watches 10,000 client ids, and forgets the one that was taken over longest ago", () => {
    link.takeOver("cam-1", "device:north");
    link.takeOver("cam-1", "device:north");
    for (let count = 0; count < 10_000; count++) link.takeOver(`other-${count}`, "user:alice");
    link.takeOver("cam-1", "device:north");
    expect(events()).toEqual([]);
    link.takeOver("cam-1", "device:north");
    link.takeOver("cam-1", "device:north");
    expect(events()).toEqual(["alert.raised"]);
  });

  it("is of cameras only, a user's take-overs are logged", async () => {
    await takeOver(5, 1000, "phone", "user:alice");
    await takeOver(5, 1000, "evil", "device:../x");
    expect(journal.entries).toEqual([]);
  });
});
