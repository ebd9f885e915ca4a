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
let watcher: { stop(): Promise<void> };

beforeEach(() => {
  vi.useFakeTimers();
  journal = memoryJournal(tree);
  link = recordingLink();
  watcher = start();
});
afterEach(() => {
  watcher.stop();
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

/** For each session in turn: takes over the connection of the last session, and publishes the birth. */
async function connect(sessions: readonly string[], everyMs: number): Promise<void> {
  for (const session of sessions) {
    link.takeOver("cam-1", "device:north");
    journal.receive({ kind: "camera-link", camera: "north" }, { status: "online", session }, { retain: true });
    await vi.advanceTimersByTimeAsync(everyMs);
  }
}

const repeated = (sessions: readonly string[], times: number) => Array.from({ length: times }, () => sessions).flat();
const events = () => published(journal, ALERT).map(({ event }) => event);

describe("an alert of two devices with one client id", () => {
  it("is raised once, at the third take-over within a minute, with instructions", async () => {
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

  it("is not raised by a link that flaps less often", async () => {
    await takeOver(20, 31_000);
    expect(events()).toEqual([]);
  });

  it("is not raised by different client ids of one camera", async () => {
    for (let time = 0; time < 6; time++) await takeOver(1, 1000, `cam-${time}`);
    expect(events()).toEqual([]);
  });

  it("is raised once when the births of two sessions alternate", async () => {
    await connect(repeated(["s1", "s2"], 20), 1000);
    expect(events()).toEqual(["alert.raised"]);
  });

  it("is raised when one of the two devices reboots in between", async () => {
    await connect(["s1", "s2", "s3", "s1", "s3"], 1000);
    expect(events()).toEqual(["alert.raised"]);
  });

  it("is raised, and stays raised, when two devices take over alternately with their longest back-off", async () => {
    await connect(repeated(["s1", "s2"], 10), 290_000);
    expect(events()).toEqual(["alert.raised"]);
  });

  it("is not raised by a device that takes over its own half-open connection many times", async () => {
    await connect(repeated(["s1"], 60), 1000);
    watcher.stop();
    watcher = start();
    // After a restart, the alert is not raised before the first birth message.
    await takeOver(12, 5000);
    expect(events()).toEqual([]);
  });

  it("is not raised by a device that reboots repeatedly", async () => {
    await connect(
      Array.from({ length: 60 }, (_, boot) => `s${boot}`),
      1000,
    );
    expect(events()).toEqual([]);
  });

  it("is cleared when one of the two devices stays away, although the link of the other flaps", async () => {
    await connect(repeated(["s1", "s2"], 10), 1000);
    await connect(repeated(["s1"], 200), 5000);
    expect(events()).toEqual(["alert.raised", "alert.cleared"]);
  });

  it("is cleared two minutes after the last take-over", async () => {
    await takeOver(3, 1000);
    await takeOver(10, 100_000);
    expect(events()).toEqual(["alert.raised"]);
    await vi.advanceTimersByTimeAsync(25_000);
    expect(events()).toEqual(["alert.raised", "alert.cleared"]);
    expect(journal.state(ALERT)).toBeUndefined();
  });

  it("is cleared after a restart, if it was raised before", async () => {
    await takeOver(3, 1000);
    watcher.stop();
    watcher = start();
    await vi.advanceTimersByTimeAsync(125_000);
    expect(events()).toEqual(["alert.raised", "alert.cleared"]);
  });

  it("is raised and cleared later if the store is unavailable", async () => {
    journal.unavailableReason = "disk full";
    await takeOver(3, 1000);
    journal.unavailableReason = undefined;
    await takeOver(1, 1000);
    expect(events()).toEqual(["alert.raised"]);
    journal.unavailableReason = "disk full";
    await vi.advanceTimersByTimeAsync(130_000);
    journal.unavailableReason = undefined;
    await vi.advanceTimersByTimeAsync(2000);
    expect(events()).toEqual(["alert.raised", "alert.cleared"]);
  });

  it("counts the take-overs of only the 10,000 client ids with the newest take-overs", () => {
    link.takeOver("cam-1", "device:north");
    link.takeOver("cam-1", "device:north");
    for (let count = 0; count < 10_000; count++) link.takeOver(`other-${count}`, "user:alice");
    link.takeOver("cam-1", "device:north");
    expect(events()).toEqual([]);
    link.takeOver("cam-1", "device:north");
    link.takeOver("cam-1", "device:north");
    expect(events()).toEqual(["alert.raised"]);
  });

  it("is not raised for users", async () => {
    await takeOver(5, 1000, "phone", "user:alice");
    await takeOver(5, 1000, "evil", "device:../x");
    expect(journal.entries).toEqual([]);
  });
});
