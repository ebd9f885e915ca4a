import fc from "fast-check";
import type { Logger } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { startLinkGaps } from "../../../bridge/cameras/link-gaps.ts";
import { countOf, DEFAULT_GAP_LIMITS, SequenceTracker } from "../../../bridge/cameras/sequence-gaps.ts";
import type { LinkGap } from "../../../contract/events.ts";
import { recordingLogger } from "../support/recording-logger.ts";
import { envelope, type Fixture, logger, openFixture, START, tree, useFakeClock } from "./watcher-fixture.ts";

const MINUTE = 60_000;
const GAP_TOPIC = "cameras/north/events/link.gap";
const STATE_TOPIC = "cameras/north/state/gaps";
let fixture: Fixture;
let running: { stop(): Promise<void> } | undefined;

beforeEach(async () => {
  useFakeClock();
  fixture = await openFixture();
  await watch();
});

afterEach(() => running?.stop());

async function watch(
  options: { settleMs?: number; maxWaitMs?: number; maxGaps?: number; logger?: Logger } = {},
): Promise<void> {
  const { journal, cluster, ingest } = fixture;
  const publish = ingest.publish.bind(ingest);
  running = await startLinkGaps({ journal, documents: cluster.documents, tree, publish, logger, ...options });
}

async function restart(): Promise<void> {
  await running?.stop();
  await fixture.restart();
  await watch();
}

/** Publishes one message with a sequence number. */
function send(seq: number, more: { session?: string; historical?: boolean; event?: string } = {}): Promise<void> {
  const { event = "capture.completed", ...rest } = more;
  return fixture.accept(`cameras/north/events/${event}`, envelope(event, {}, { seq, ...rest }));
}

const birth = (session = "s1") =>
  fixture.accept("cameras/north/link", envelope("camera.link", { status: "online", session }, { session }));

async function sendAll(from: number, to: number, historical = false): Promise<void> {
  for (let seq = from; seq <= to; seq++) await send(seq, historical ? { historical } : {});
}

/** Sets the clock forward. No timers run, because the watcher decides about a gap when the next message arrives. */
const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);

async function gaps(): Promise<LinkGap[]> {
  await fixture.settled();
  return fixture.published(GAP_TOPIC).map(({ data }) => data as LinkGap);
}

const listed = (): unknown => {
  const state = fixture.journal.state(`${tree.root}/${STATE_TOPIC}`);
  return state === undefined ? undefined : JSON.parse(`{${state.body}}`).data.gaps;
};

describe("a gap in a camera's sequence numbers", () => {
  it("is not reported while the missing messages may still arrive", async () => {
    await sendAll(1, 5);
    await send(9);
    pass(DEFAULT_GAP_LIMITS.settleMs - 1);
    await send(10);
    expect(await gaps()).toEqual([]);
  });

  it("is reported once when no backlog is expected, with the count, the times and the numbers of the missing messages", async () => {
    await fixture.accept("cameras/north/state/presence", {
      status: "online",
      since: "2026-03-12T03:00:00Z",
      session: "boot",
    });
    await sendAll(1, 5);
    pass(15 * MINUTE);
    await send(18);
    pass(3 * MINUTE);
    await send(19);
    const gap = {
      ...{ reason: "missing", count: 12, first_seq: 6, last_seq: 17, session: "boot" },
      ...{ from: "2026-03-12T03:10:00.000Z", to: "2026-03-12T03:25:00.000Z" },
    };
    expect(await gaps()).toEqual([gap]);
    expect(listed()).toEqual([gap]);
    pass(60 * MINUTE);
    await sendAll(20, 25);
    expect(await gaps()).toHaveLength(1);
  });

  it("is not reported when a backlog fills the gap in time, in any order", async () => {
    await sendAll(1, 5);
    await send(21);
    for (const seq of [20, 6, 19, 7, 8, 9, 10, 18, 17, 16, 11, 12, 15, 14, 13]) await send(seq, { historical: true });
    pass(60 * MINUTE);
    await send(22);
    expect(await gaps()).toEqual([]);
  });

  it("is not reported while a backlog arrives, up to a time limit", async () => {
    await sendAll(1, 5);
    await send(1000);
    for (let seq = 7; seq < 60; seq++) {
      pass(MINUTE);
      await send(seq, { historical: true });
    }
    expect(await gaps()).toEqual([]);
    for (let seq = 60; seq < 70; seq++) {
      pass(MINUTE);
      await send(seq, { historical: true });
    }
    expect(await gaps()).toMatchObject([{ first_seq: 6, last_seq: 999 }]);
  });

  it("is not reported while the camera is silent, because it may still have the messages", async () => {
    await sendAll(1, 5);
    await send(9);
    pass(24 * 60 * MINUTE);
    expect(await gaps()).toEqual([]);
  });

  it("is not reported when a camera reconnects after hours, because it sends new messages before its backlog", async () => {
    await sendAll(1, 5);
    await send(9);
    pass(5 * 60 * MINUTE);
    await birth();
    await send(10);
    expect(await gaps()).toEqual([]);
    await sendAll(6, 8, true);
    pass(60 * MINUTE);
    await send(11);
    expect(await gaps()).toEqual([]);
    // A missing message counts as lost if it does not arrive after the camera's next birth.
    await send(13);
    pass(5 * 60 * MINUTE);
    await birth();
    await send(14);
    pass(3 * MINUTE);
    await send(15);
    expect(await gaps()).toMatchObject([{ first_seq: 12, last_seq: 12 }]);
  });

  it("is reported as filled when all messages have arrived, and removed from the state", async () => {
    await sendAll(1, 5);
    await send(8);
    pass(3 * MINUTE);
    await send(9);
    expect(await gaps()).toMatchObject([{ count: 2, first_seq: 6, last_seq: 7 }]);
    await send(6, { historical: true });
    expect(await gaps()).toHaveLength(1);
    await send(7, { historical: true });
    expect(await gaps()).toMatchObject([{ count: 2 }, { count: 2, first_seq: 6, last_seq: 7, filled: true }]);
    expect(listed()).toBeUndefined();
  });

  it("excludes the numbers of command replies, which no dashboard receives", async () => {
    await sendAll(1, 5);
    await fixture.accept("cameras/north/replies/capture.now", envelope("command.reply", {}, { seq: 6 }));
    await send(7);
    pass(3 * MINUTE);
    await send(8);
    expect(await gaps()).toEqual([]);
  });

  it("is not reported when another camera uses the missing numbers", async () => {
    await sendAll(1, 5);
    await fixture.accept("cameras/south/events/x", envelope("x", {}, { seq: 900 }));
    await send(6);
    pass(3 * MINUTE);
    await send(7);
    expect(await gaps()).toEqual([]);
  });
});

describe("a new outbox of a camera", () => {
  it("is not reported as a gap when its numbers start again, but the open gaps of the old outbox are reported", async () => {
    await sendAll(1, 40);
    await send(50);
    for (let seq = 1; seq < 5; seq++) await send(seq, { session: "s2" });
    expect(await gaps()).toMatchObject([{ first_seq: 41, last_seq: 49 }]);
    pass(3 * MINUTE);
    await send(5, { session: "s2" });
    expect(await gaps()).toHaveLength(1);
  });

  it("is also detected when one of its later messages arrives first", async () => {
    await sendAll(1, 40);
    for (const seq of [3, 1, 2, 4]) await send(seq, { session: "s2" });
    pass(3 * MINUTE);
    await send(5, { session: "s2" });
    expect(await gaps()).toEqual([]);
  });
});

describe("messages that a camera dropped", () => {
  const dropped = { count: 12, from: "2026-03-12T03:10:00.000Z", to: "2026-03-12T03:25:00.000Z" };

  it("are reported at once, and added to the state", async () => {
    await fixture.accept("cameras/north/events/outbox.dropped", envelope("outbox.dropped", dropped, { seq: 1 }));
    expect(await gaps()).toEqual([{ reason: "dropped", ...dropped }]);
    expect(listed()).toEqual([{ reason: "dropped", ...dropped }]);
  });

  it("are reported once when the camera publishes the event twice", async () => {
    for (const seq of [1, 2])
      await fixture.accept("cameras/north/events/outbox.dropped", envelope("outbox.dropped", dropped, { seq }));
    expect(await gaps()).toHaveLength(1);
    expect(listed()).toHaveLength(1);
  });

  it("are not reported when the event is invalid", async () => {
    await fixture.accept(
      "cameras/north/events/outbox.dropped",
      envelope("outbox.dropped", { count: "many" }, { seq: 1 }),
    );
    expect(await gaps()).toEqual([]);
  });

  it("stay in the state for 48 hours", async () => {
    await fixture.accept("cameras/north/events/outbox.dropped", envelope("outbox.dropped", dropped, { seq: 1 }));
    await fixture.settled();
    pass(49 * 60 * MINUTE);
    const later = { count: 1, from: "2026-03-14T04:00:00.000Z", to: "2026-03-14T04:00:00.000Z" };
    await fixture.accept("cameras/north/events/outbox.dropped", envelope("outbox.dropped", later, { seq: 2 }));
    await fixture.settled();
    expect(listed()).toEqual([{ reason: "dropped", ...later }]);
  });
});

describe("a restart", () => {
  it("keeps the received numbers and the open gaps", async () => {
    await sendAll(1, 5);
    await send(9);
    await restart();
    await sendAll(10, 12);
    pass(3 * MINUTE);
    await send(13);
    expect(await gaps()).toMatchObject([{ first_seq: 6, last_seq: 8 }]);
  });

  it("starts the wait again for a camera that reconnected meanwhile", async () => {
    await sendAll(1, 5);
    await send(9);
    await running?.stop();
    running = undefined;
    pass(5 * 60 * MINUTE);
    await fixture.restart();
    await birth();
    await watch();
    await send(10);
    await sendAll(6, 8, true);
    expect(await gaps()).toEqual([]);
  });

  it("does not report a gap again, but reports when the gap is filled", async () => {
    await sendAll(1, 5);
    await send(7);
    pass(3 * MINUTE);
    await send(8);
    expect(await gaps()).toHaveLength(1);
    await restart();
    pass(3 * MINUTE);
    await send(9);
    expect(await gaps()).toEqual([]);
    await send(6, { historical: true });
    expect(await gaps()).toMatchObject([{ first_seq: 6, last_seq: 6, filled: true }]);
  });

  it("after a kill, replays the messages since the last save, and reports none of these messages as missing", async () => {
    await sendAll(1, 5);
    await running?.stop();
    running = undefined;
    // These messages arrive while no watcher runs, as if the watcher had been killed before it saved them.
    await sendAll(6, 9);
    await fixture.accept("cameras/north/replies/capture.now", envelope("command.reply", {}, { seq: 10 }));
    await sendAll(11, 12);
    await fixture.restart();
    await watch();
    await sendAll(13, 14);
    pass(3 * MINUTE);
    await send(15);
    expect(await gaps()).toEqual([]);
    await send(17);
    pass(3 * MINUTE);
    await send(18);
    expect(await gaps()).toMatchObject([{ first_seq: 16, last_seq: 16 }]);
  });

  it("starts from the journal's head when the entries since the last save have expired, and reports no gap for the expired entries", async () => {
    await sendAll(1, 5);
    await running?.stop();
    running = undefined;
    await sendAll(20, 60);
    await fixture.restart({ retentionEvents: 10 });
    await fixture.journal.trim();
    await watch();
    await sendAll(61, 62);
    pass(3 * MINUTE);
    await send(63);
    expect(await gaps()).toEqual([]);
  });
});

it("a gap is reported once when two nodes watch one journal", async () => {
  const first = running;
  await watch();
  await sendAll(1, 5);
  await send(9);
  pass(3 * MINUTE);
  await send(10);
  expect(await gaps()).toHaveLength(1);
  expect(listed()).toHaveLength(1);
  await first?.stop();
});

it("the watcher reports no gaps while two devices with one id alternate, and watches the remaining device again", async () => {
  await sendAll(1, 40);
  const next = { s1: 41, s2: 300 };
  for (let count = 0; count < 40; count++) {
    const session = count % 2 === 0 ? "s1" : "s2";
    await birth(session);
    for (let message = 0; message < 3; message++) await send(next[session]++, { session });
    pass(10 * 1000);
  }
  pass(3 * MINUTE);
  expect(await gaps()).toEqual([]);
  await sendAll(next.s1, next.s1 + 5);
  await send(next.s1 + 9);
  pass(3 * MINUTE);
  await send(next.s1 + 10);
  expect(await gaps()).toMatchObject([{ count: 3, first_seq: next.s1 + 6 }]);
});

it("the watcher reports no gaps of a sender whose numbers are not consecutive", async () => {
  for (let n = 0; n <= DEFAULT_GAP_LIMITS.maxGaps + 1; n++) await send(START + n * 1000);
  pass(3 * MINUTE);
  await send(START * 2);
  expect(await gaps()).toEqual([]);
});

it("the watcher reports exactly the messages that did not arrive, whatever the order of arrival", () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.integer({ min: 20, max: 70 }), { minLength: 1, maxLength: 50 }),
      fc.integer({ min: 71, max: 75 }),
      (order, last) => {
        const sequence = new SequenceTracker({ ...DEFAULT_GAP_LIMITS, maxGaps: 100 });
        const message = { timestamp: "2026-03-12T03:10:00.000Z", historical: false, acceptedAt: 0 };
        for (const seq of [...order, last]) sequence.add({ ...message, seq });
        const changes = sequence.add({ ...message, seq: last + 1, acceptedAt: DEFAULT_GAP_LIMITS.maxWaitMs });
        const missing = changes.reduce((sum, { gap }) => sum + countOf(gap.runs), 0);
        // The watcher cannot know that numbers below the first message are missing.
        const seen = new Set(order.filter((seq) => seq >= (order[0] ?? 0)));
        expect(missing).toBe(last - (order[0] ?? 0) - seen.size);
      },
    ),
  );
});

it("the watcher logs the number of suppressed lines when it stops", async () => {
  const recording = recordingLogger();
  await running?.stop();
  await watch({ settleMs: 1000, logger: recording.logger });
  for (const seq of [1, 5, 6, 10, 11, 15, 16]) {
    await send(seq);
    pass(2 * MINUTE);
  }
  expect(await gaps()).toHaveLength(3);
  const logged = () => recording.lines.filter(({ msg }) => msg === "camera gap published").map(({ times }) => times);
  expect(logged()).toEqual([1]);
  await running?.stop();
  expect(logged()).toEqual([1, 2]);
});
