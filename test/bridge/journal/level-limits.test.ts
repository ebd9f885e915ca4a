import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DEFAULT_JOURNAL_LIMITS } from "../../../bridge/journal/stores/level/level.ts";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import { createLevelPlace, type LevelPlace } from "./level-place.ts";
import { from, message, positions, range, readAll, state } from "./messages.ts";

let place: LevelPlace;
beforeEach(async () => {
  place = await createLevelPlace();
});
afterEach(() => place.dispose());

describe("one write", () => {
  test("has at most maxGroupEntries entries, and the rest follow in order", async () => {
    const journal = await place.open({ limits: { maxGroupEntries: 50 } });
    const groups: number[] = [];
    journal.follow((entries) => groups.push(entries.length));
    const appended = await Promise.all(range(1, 220).map(() => journal.append(message())));
    expect(groups).toEqual([50, 50, 50, 50, 20]);
    expect(appended.map(({ position }) => position)).toEqual(range(1, 220));
  });

  test("has at most maxGroupBytes bytes, but always one entry", async () => {
    const journal = await place.open({ limits: { maxGroupBytes: 5_000 } });
    const groups: number[] = [];
    journal.follow((entries) => groups.push(entries.length));
    const publish = { payload: Buffer.alloc(2_000), qos: 1 as const, retain: false };
    const huge = message({ body: `"x":"${"y".repeat(9_000)}"` });
    await Promise.all(
      [message({ publish }), message({ publish }), message({ publish }), huge].map((one) => journal.append(one)),
    );
    expect(groups).toEqual([2, 1, 1]);
  });

  test("contains the appends that arrived during the previous write", async () => {
    const journal = await place.open();
    const groups: number[] = [];
    journal.follow((entries) => groups.push(entries.length));
    const first = journal.append(message());
    await new Promise((resolve) => setImmediate(resolve));
    const rest = range(1, 30).map(() => journal.append(message()));
    await Promise.all([first, ...rest]);
    expect(groups).toEqual([1, 30]);
  });
});

describe("the queue of appends", () => {
  test("has at most maxWaitingEntries entries, including duplicates, and rejects further appends until there is room", async () => {
    const journal = await place.open({ limits: { maxWaitingEntries: 10 } });
    const repeated = message(from("device:north", "s", 1));
    const waiting = [...range(1, 8).map(() => message()), repeated, repeated].map((one) => journal.append(one));
    await expect(journal.append(message())).rejects.toThrow(StoreUnavailableError);
    await expect(journal.append(message(from("device:north", "s", 2)))).rejects.toThrow(
      /10 messages already wait for the disk/,
    );
    await Promise.all(waiting);
    expect(await journal.append(message(from("device:north", "s", 2)))).toEqual({ position: 10, duplicate: false });
  });

  test("has at most maxWaitingBytes bytes", async () => {
    const journal = await place.open({ limits: { maxWaitingBytes: 10_000 } });
    const large = () => message({ body: `"x":"${"y".repeat(6_000)}"` });
    const waiting = [large(), large()].map((one) => journal.append(one));
    await expect(journal.append(message())).rejects.toThrow(StoreUnavailableError);
    await Promise.all(waiting);
    await journal.append(large());
  });
});

describe("the deduplicator", () => {
  test("keeps the maxSessions last used sessions, and accepts a duplicate of an older session and every new message", async () => {
    const limits = { maxSessions: 3 };
    let journal = await place.open({ limits });
    for (const session of ["a", "b", "c", "a", "d"])
      await journal.append(message(from("device:north", session, journal.head)));
    const duplicates = async () => {
      const kept: string[] = [];
      for (const [session, seq] of [
        ["a", 0],
        ["c", 2],
        ["d", 4],
      ] as const) {
        const { duplicate } = await journal.append(message(from("device:north", session, seq)));
        if (duplicate) kept.push(session);
      }
      return kept;
    };
    expect(await duplicates()).toEqual(["a", "c", "d"]);
    journal = await place.open({ limits });
    expect(await duplicates()).toEqual(["a", "c", "d"]);
    expect(await journal.append(message(from("device:north", "b", 1)))).toMatchObject({ duplicate: false });
  });

  test("keeps maxSeqRanges ranges per session, and evicts the lowest ranges", async () => {
    const journal = await place.open({ limits: { maxSeqRanges: 4 } });
    const seqs = range(0, 9).map((index) => index * 10);
    for (const seq of seqs) await journal.append(message(from("device:north", "s", seq)));
    const known: number[] = [];
    for (const seq of [...seqs].reverse()) {
      const { duplicate } = await journal.append(message(from("device:north", "s", seq)));
      if (duplicate) known.push(seq);
    }
    expect(known).toEqual([90, 80, 70, 60]);
    expect(journal.head).toBe(16);
  });
});

describe("channels", () => {
  test("are at most maxChannels: a new channel replaces an empty channel, whose recovery is then incomplete", async () => {
    let now = 1e12;
    const options = { limits: { maxChannels: 4 }, now: () => now };
    let journal = await place.open(options);
    for (const name of ["a", "b", "c", "d"]) await journal.append(message({ channels: [name] }));
    const one = message({ channels: ["e"] });
    await expect(journal.append(one)).rejects.toThrow(/already has 4 channels and cannot add e/);
    now += 25 * 3_600_000;
    await journal.append(message({ channels: ["d"] }));
    await journal.trim();
    expect(await journal.append(one)).toEqual({ position: 6, duplicate: false });
    for (const reopened of [false, true]) {
      if (reopened) journal = await place.open(options);
      const { epoch } = journal;
      expect(journal.recovery("a", { epoch, position: 0 })).toMatchObject({ reason: "trimmed" });
      expect(journal.recovery("d", { epoch, position: 4 })).toEqual({ complete: true });
      expect(positions(await readAll(journal, ["e"]))).toEqual([6]);
    }
  });
});

describe("state", () => {
  test("is kept for maxStateTopics topics, and events of further topics are stored anyway", async () => {
    const journal = await place.open({ limits: { maxStateTopics: 2 } });
    const topics = ["a", "b", "c", "d", "a"];
    await Promise.all(topics.map((name) => journal.append(state("north", name))));
    expect(positions(journal.snapshot("dashboard"))).toEqual([2, 5]);
    expect(positions(await readAll(journal, ["dashboard"]))).toEqual(range(1, 5));
    await journal.append(state("north", "b", "clear"));
    await journal.append(state("north", "c"));
    expect(positions(journal.snapshot("dashboard"))).toEqual([5, 7]);
    expect(place.logged.filter((line) => line.includes("too many retained topics"))).toHaveLength(1);
  });

  test("is loaded up to maxLoadedStateChars; skipped values are logged, remain in the store, and can be replaced", async () => {
    let journal = await place.open();
    const large = `"event":"x","data":"${"x".repeat(20_000)}"`;
    await Promise.all(["a", "b", "c", "d"].map((name) => journal.append({ ...state("north", name), body: large })));
    await journal.append(state("north", "small"));
    await journal.close();
    journal = await place.open({ limits: { maxLoadedStateChars: 45_000 } });
    expect(positions(journal.snapshot("dashboard"))).toEqual([1, 2, 5]);
    expect(place.logged.filter((line) => line.includes("exceeds the memory limit"))).toHaveLength(1);
    await journal.append(state("north", "d"));
    await journal.close();
    journal = await place.open();
    expect(positions(journal.snapshot("dashboard"))).toEqual([1, 2, 3, 5, 6]);
  });
});

test("an open publication is removed soon after its delivery, without an append", async () => {
  const journal = await place.open();
  const open = { payload: Buffer.from("x"), qos: 1 as const, retain: false };
  await Promise.all(range(1, 2).map(() => journal.append(message({ open }))));
  journal.finished(1);
  const other = await createLevelPlace();
  const left = async () => {
    await other.copyOf(place);
    const image = await other.open();
    const found: number[] = [];
    for await (const { position } of image.unfinished()) found.push(position);
    await image.close();
    return found;
  };
  await expect.poll(left).toEqual([2]);
  await other.dispose();
});

test("the default limits equal the documented limits", () => {
  expect(DEFAULT_JOURNAL_LIMITS).toEqual({
    maxGroupEntries: 1_000,
    maxGroupBytes: 4_194_304,
    maxWaitingEntries: 20_000,
    maxWaitingBytes: 67_108_864,
    maxSessions: 20_000,
    maxSessionsPerSender: 128,
    maxSeqRanges: 128,
    maxChannels: 50_000,
    maxStateTopics: 100_000,
    maxLoadedStateChars: 134_217_728,
    maxRecentChars: 8_388_608,
  });
});
