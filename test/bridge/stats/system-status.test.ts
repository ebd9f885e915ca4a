import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LocalLeases } from "../../../bridge/cluster/local/in-memory.ts";
import { startSystemStatus } from "../../../bridge/stats/system-status.ts";
import { type ClockJump, resourcesSchema, systemStatusSchema } from "../../../contract/events.ts";
import { topicTree } from "../../../contract/topics.ts";
import { type MemoryJournal, memoryJournal, published } from "../support/memory-journal.ts";

const STATUS = "skylapse/v1/system/status";
const RESOURCES = "skylapse/v1/system/resources";

let journal: MemoryJournal;
let leases: LocalLeases;
let status: SystemStatus;
let clockJump: ClockJump | undefined;

type SystemStatus = ReturnType<typeof startSystemStatus>;

function startNode(): SystemStatus {
  return startSystemStatus({
    cluster: { leases },
    unavailableReason: () => journal.unavailableReason,
    clockJump: () => clockJump,
    publish: journal.publish,
    version: "1.2.3",
    logger: pino({ level: "silent" }),
  });
}

beforeEach(async () => {
  vi.useFakeTimers();
  journal = memoryJournal(topicTree());
  leases = new LocalLeases();
  clockJump = undefined;
  status = startNode();
  await vi.advanceTimersByTimeAsync(0);
});
afterEach(async () => {
  await status.stop();
  vi.useRealTimers();
});

describe("the system status", () => {
  it("is published as state at the start, together with the resources", () => {
    expect(systemStatusSchema.parse(published(journal, STATUS)[0]?.data)).toMatchObject({
      status: "ok",
      version: "1.2.3",
    });
    const { memory_bytes } = resourcesSchema.parse(published(journal, RESOURCES)[0]?.data);
    expect(memory_bytes).toBeGreaterThan(1_000_000);
    expect(journal.state(STATUS)).toBeDefined();
  });

  it("is not published again while it is unchanged, but the resources are published at least every minute", async () => {
    await vi.advanceTimersByTimeAsync(125_000);
    expect(published(journal, STATUS)).toHaveLength(1);
    expect(published(journal, RESOURCES).length).toBeGreaterThanOrEqual(3);
  });

  it("is published once the store is available again", async () => {
    await status.stop();
    journal.unavailableReason = "disk full";
    journal.entries = [];
    status = startNode();
    await vi.advanceTimersByTimeAsync(30_000);
    expect(journal.entries).toEqual([]);
    journal.unavailableReason = undefined;
    await vi.advanceTimersByTimeAsync(10_000);
    expect(published(journal, STATUS)).toMatchObject([{ event: "system.status", data: { status: "ok" } }]);
  });

  it("reports the beginning and the end of a jump of the system clock", async () => {
    const noticed_at = new Date().toISOString();
    clockJump = { ahead_seconds: 172_800, noticed_at, message: "The system clock is 2 d ahead of the server's own" };
    await vi.advanceTimersByTimeAsync(10_000);
    clockJump = undefined;
    await vi.advanceTimersByTimeAsync(10_000);
    const [, jumped, over, ...more] = published(journal, STATUS).map(({ data }) => systemStatusSchema.parse(data));
    expect(jumped?.clock).toEqual({
      ...{ ahead_seconds: 172_800, noticed_at, message: "The system clock is 2 d ahead of the server's own" },
    });
    expect([over?.clock, over?.status, more]).toEqual([undefined, "ok", []]);
  });

  it("is published by one of several nodes, and by another node when the first stops", async () => {
    const others = [startNode(), startNode()];
    await vi.advanceTimersByTimeAsync(30_000);
    expect(published(journal, STATUS)).toHaveLength(1);
    journal.entries = [];
    await status.stop();
    // Another node gets the lease after a pause in real time, which fake timers would never end.
    vi.useRealTimers();
    await vi.waitFor(() => expect(published(journal, STATUS)).toHaveLength(1));
    expect(published(journal, RESOURCES)).toHaveLength(1);
    for (const other of others) await other.stop();
  });
});
