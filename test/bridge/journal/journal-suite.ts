import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { NO_CHANNEL } from "../../../bridge/journal/core/channels.ts";
import type { Entry, Journal, Publication } from "../../../bridge/journal/journal.ts";
import { describeAgainstModel } from "./journal-model.ts";
import { describeSessions } from "./journal-sessions.ts";
import { from, message, positions, range, readAll, readWhole, state, withId } from "./messages.ts";

export interface OpenOptions {
  /** Default 10,000. */
  retentionEvents?: number;
  /** Default 24. */
  retentionHours?: number;
  now?: () => number;
  /** Default: the limits of the journal. */
  limits?: { maxSessions?: number; maxSessionsPerSender?: number };
}

/** The storage of a journal, which can be closed and opened again. */
export interface JournalPlace {
  /** Opens the journal. Closes an open journal first. */
  open(options?: OpenOptions): Promise<Journal>;
  dispose(): Promise<void>;
}

const HOUR_MS = 3_600_000;

/** The tests that every implementation of the journal passes. */
export function describeJournal(name: string, createPlace: () => Promise<JournalPlace>): void {
  describe(name, () => {
    let place: JournalPlace;
    let journal: Journal;

    beforeEach(async () => {
      place = await createPlace();
      journal = await place.open();
    });
    afterEach(() => place.dispose());

    describe("order", () => {
      test("assigns positions from 1, in the order of the calls, without gaps", async () => {
        expect(journal.head).toBe(0);
        const appended = await Promise.all(range(1, 500).map(() => journal.append(message())));
        expect(appended).toEqual(range(1, 500).map((position) => ({ position, duplicate: false })));
        expect(journal.head).toBe(500);
      });

      test("passes every entry to followers once, in order, before the append resolves", async () => {
        const followed: Entry[] = [];
        journal.follow((entries) => followed.push(...entries));
        await Promise.all(
          range(1, 300).map(async (position) => {
            await journal.append(message());
            expect(followed.length).toBeGreaterThanOrEqual(position);
            expect(journal.head).toBeGreaterThanOrEqual(position);
          }),
        );
        expect(positions(followed)).toEqual(range(1, 300));
      });

      test("passes appended messages to followers and readers with all fields", async () => {
        const followed: Entry[] = [];
        journal.follow((entries) => followed.push(...entries));
        const sent = [message({ camera: "south" }), state("north", "power"), { ...message(), camera: undefined }];
        for (const one of sent) await journal.append(one);
        const expected = sent.map(({ topic, channels, camera, body, state }, index) => {
          return { position: index + 1, topic, channels, camera, body, state, acceptedAt: expect.any(Number) };
        });
        expect(followed).toEqual(expected);
        expect(await readAll(journal, ["dashboard"])).toEqual(expected);
        journal = await place.open();
        expect(await readAll(journal, ["dashboard"])).toEqual(expected);
      });

      test("does not call a removed follower, and an error of one follower does not affect the others", async () => {
        const followed: number[] = [];
        const unfollow = journal.follow(() => followed.push(1));
        journal.follow(() => {
          throw new Error("an error of the follower");
        });
        journal.follow(() => followed.push(2));
        await journal.append(message());
        unfollow();
        await journal.append(message());
        expect(followed).toEqual([1, 2, 2]);
      });

      test("rejects an invalid channel name, and accepts the next message", async () => {
        await expect(journal.append(message({ channels: ["camera:north!1"] }))).rejects.toThrow(/not a channel name/);
        expect(await journal.append(message())).toEqual({ position: 1, duplicate: false });
      });

      test("keeps its epoch and its positions when it is reopened", async () => {
        const { epoch } = journal;
        await Promise.all(range(1, 40).map(() => journal.append(message())));
        journal = await place.open();
        expect(journal.epoch).toBe(epoch);
        expect(journal.head).toBe(40);
        expect(await journal.append(message())).toEqual({ position: 41, duplicate: false });
        expect(positions(await readAll(journal, ["dashboard"]))).toEqual(range(1, 41));
      });

      test("creates each journal with its own epoch", async () => {
        const other = await createPlace();
        expect((await other.open()).epoch).not.toBe(journal.epoch);
        await other.dispose();
      });
    });

    describe("duplicates", () => {
      const again = { position: undefined, duplicate: true };

      test("are detected by session and sequence number, also after the journal is reopened", async () => {
        await journal.append(message(from("device:north", "boot1", 7)));
        expect(await journal.append(message(from("device:north", "boot1", 7)))).toEqual(again);
        journal = await place.open();
        expect(await journal.append(message(from("device:north", "boot1", 7)))).toEqual(again);
        expect(await journal.append(message(from("device:north", "boot2", 7)))).toEqual({
          position: 2,
          duplicate: false,
        });
      });

      test("are detected by id alone, also after the journal is reopened", async () => {
        await journal.append(message(withId("user:alice", "01J")));
        expect(await journal.append(message(withId("user:alice", "01J")))).toEqual(again);
        journal = await place.open();
        expect(await journal.append(message(withId("user:alice", "01J")))).toEqual(again);
        expect(journal.head).toBe(1);
      });

      test("are distinguished from late messages: a camera sends its current state before its backlog", async () => {
        const order = [90, 91, 92, ...range(1, 89), 93];
        const appended = await Promise.all(order.map((seq) => journal.append(message(from("device:north", "s", seq)))));
        expect(appended.every(({ duplicate }) => !duplicate)).toBe(true);
        const repeated = await Promise.all(order.map((seq) => journal.append(message(from("device:north", "s", seq)))));
        expect(repeated.every(({ duplicate }) => duplicate)).toBe(true);
      });

      test("are detected per sender: no sender suppresses the messages of another", async () => {
        await journal.append(message(withId("user:alice", "01J")));
        await journal.append(message(from("device:north", "s", 1)));
        expect(await journal.append(message(withId("user:mallory", "01J")))).toMatchObject({ duplicate: false });
        expect(await journal.append(message(from("device:south", "s", 1)))).toMatchObject({ duplicate: false });
        // Different names whose concatenation is the same are still different.
        await journal.append(message(from("device:a", "bc", 1)));
        expect(await journal.append(message(from("device:ab", "c", 1)))).toMatchObject({ duplicate: false });
        await journal.append(message(withId("user:a", "bc")));
        expect(await journal.append(message(withId("user:ab", "c")))).toMatchObject({ duplicate: false });
      });

      test("are detected within one write, and resolve once the first copy is durable", async () => {
        const order: string[] = [];
        const first = journal.append(message(from("device:north", "s", 1))).then(() => order.push("first"));
        const second = journal.append(message(from("device:north", "s", 1))).then((appended) => {
          order.push("second");
          expect(appended).toEqual(again);
          expect(journal.head).toBe(3);
        });
        const named = journal.append(message(withId("user:alice", "x")));
        const namedAgain = journal.append(message(withId("user:alice", "x")));
        const other = journal.append(message());
        await Promise.all([first, second]);
        expect(order).toEqual(["first", "second"]);
        expect(await Promise.all([named, namedAgain, other])).toEqual([
          { position: 2, duplicate: false },
          again,
          { position: 3, duplicate: false },
        ]);
      });

      test("are not detected for messages without id and sequence number", async () => {
        const anonymous = {
          ...message(),
          origin: { sender: "user:a", id: undefined, session: undefined, seq: undefined },
        };
        await journal.append(anonymous);
        expect(await journal.append(anonymous)).toEqual({ position: 2, duplicate: false });
      });
    });

    describeSessions(() => place);

    describe("replay", () => {
      test("reads the entries of a channel in order, page by page", async () => {
        for (const turn of range(1, 60)) {
          const cameras = turn % 20 === 0 ? ["north", "south", "east"] : ["north", "south"];
          await Promise.all(cameras.map((camera) => journal.append(message({ camera }))));
        }
        for (const reopened of [false, true]) {
          if (reopened) journal = await place.open();
          for (const maxEvents of [1, 7, 100]) {
            const east = await readAll(journal, ["camera:east"], { maxEvents });
            expect(east.map(({ camera }) => camera)).toEqual(["east", "east", "east"]);
            const all = await readAll(journal, ["dashboard"], { maxEvents });
            expect(positions(all)).toEqual(range(1, 123));
            const north = await readAll(journal, ["camera:north"], { maxEvents });
            expect(positions(north)).toEqual(positions(all.filter(({ camera }) => camera === "north")));
          }
        }
      });

      test("merges channels: an entry of several channels is returned once, in order", async () => {
        const lists = [
          ["camera:a", "dashboard"],
          ["camera:b", "alerts", "dashboard"],
          ["jobs"],
          [],
          ["camera:a", "alerts"],
        ];
        await Promise.all(range(0, 99).map((index) => journal.append(message({ channels: lists[index % 5] ?? [] }))));
        const of = (...wanted: string[]) =>
          range(1, 100).filter((position) => lists[(position - 1) % 5]?.some((channel) => wanted.includes(channel)));
        for (const reopened of [false, true]) {
          if (reopened) journal = await place.open();
          for (const wanted of [["alerts", "camera:a"], ["dashboard", "jobs", "alerts"], ["jobs"], ["unknown"], []])
            expect(positions(await readAll(journal, wanted, { maxEvents: 9 }))).toEqual(of(...wanted));
        }
      });

      test("respects after, until, maxEvents and maxBytes, and always makes progress", async () => {
        const body = `"x":"${"y".repeat(994)}"`;
        await Promise.all(range(1, 50).map(() => journal.append(message({ body }))));
        for (const reopened of [false, true]) {
          if (reopened) journal = await place.open();
          for (const channels of [["dashboard"], ["camera:north"]]) {
            const page = await journal.replay({ channels, after: 10, until: 20 });
            expect(positions(page.entries)).toEqual(range(11, 20));
            expect(page).toMatchObject({ next: 20, done: true });
            const few = await journal.replay({ channels, after: 10, maxEvents: 4 });
            expect(positions(few.entries)).toEqual(range(11, 14));
            expect(few).toMatchObject({ next: 14, done: false });
            const small = await journal.replay({ channels, after: 10, maxBytes: 3_500 });
            expect(positions(small.entries)).toEqual([11, 12, 13]);
            const tiny = await journal.replay({ channels, after: 10, maxBytes: 1 });
            expect(positions(tiny.entries)).toEqual([11]);
            const none = await journal.replay({ channels, after: 50 });
            expect(none).toEqual({ entries: [], next: 50, done: true });
            const beyond = await journal.replay({ channels, after: 40, until: 99 });
            expect(beyond).toMatchObject({ next: 50, done: true });
          }
        }
      });

      test("ends at the head as of the call, even while appends run", async () => {
        const followed: number[] = [];
        journal.follow((entries) => followed.push(...positions(entries)));
        const appends = Promise.all(range(1, 2_000).map(() => journal.append(message())));
        let after = 0;
        const read: number[] = [];
        while (journal.head < 2_000 || after < 2_000) {
          const known = journal.head;
          const page = await journal.replay({ channels: ["camera:north"], after });
          expect(page.next).toBeLessThanOrEqual(Math.max(known, after));
          read.push(...positions(page.entries));
          after = page.next;
          if (page.done) await new Promise((resolve) => setImmediate(resolve));
        }
        await appends;
        expect(read).toEqual(range(1, 2_000));
        expect(followed).toEqual(read);
      });

      test("yields to other work", async () => {
        await Promise.all(range(1, 5_000).map(() => journal.append(message())));
        let turns = 0;
        let isOver = false;
        // Counts turns of the event loop, not time: a fast machine reads everything within a few milliseconds.
        const count = (): void => {
          turns++;
          if (!isOver) setImmediate(count);
        };
        setImmediate(count);
        for (let round = 0; round < 20; round++) await readAll(journal, ["dashboard"]);
        isOver = true;
        expect(turns).toBeGreaterThanOrEqual(20);
      });
    });

    describe("reading everything", () => {
      test("returns every entry once, page by page, whatever its channels", async () => {
        const channels = [["dashboard", "camera:north"], ["camera:north"], [], ["jobs"]];
        await Promise.all(range(1, 400).map((n) => journal.append(message({ channels: channels[n % 4] ?? [] }))));
        for (const reopened of [false, true]) {
          if (reopened) journal = await place.open();
          const read = await readWhole(journal, { maxEvents: 70 });
          expect(positions(read.entries)).toEqual(range(1, 400));
          expect(read.missing).toEqual([]);
        }
        expect((await journal.read({ after: 0, maxBytes: 1 })).entries).toHaveLength(1);
        expect(await journal.read({ after: 400 })).toEqual({ entries: [], next: 400 });
      });

      test("names the positions that retention removed", async () => {
        journal = await place.open({ retentionEvents: 5 });
        for (const position of range(1, 100))
          await journal.append(message({ channels: [position % 20 === 0 ? "jobs" : "dashboard"] }));
        await journal.trim();
        journal = await place.open({ retentionEvents: 5 });
        const { entries, missing } = await readWhole(journal, {});
        // A store may delete entries later than retention requires.
        expect(positions(entries)).toEqual(expect.arrayContaining([20, 40, 60, 80, ...range(95, 100)]));
        expect([...positions(entries), ...missing].sort((one, other) => one - other)).toEqual(range(1, 100));
      });

      test("names the positions up to the newest if no entry is left", async () => {
        let now = HOUR_MS;
        journal = await place.open({ retentionHours: 1, now: () => now });
        await journal.append(message());
        now += 2 * HOUR_MS;
        await journal.trim();
        journal = await place.open({ retentionHours: 1, now: () => now });
        const { entries, missing } = await readWhole(journal, {});
        expect([...positions(entries), ...missing]).toEqual([1]);
      });
    });

    describe("state", () => {
      test("is the newest value of each retained topic, with the position", async () => {
        await journal.append(state("north", "power"));
        const newer = state("north", "power");
        await Promise.all([
          journal.append(newer),
          journal.append(state("south", "storage")),
          journal.append(message()),
        ]);
        for (const reopened of [false, true]) {
          if (reopened) journal = await place.open();
          expect(journal.snapshot("camera:north")).toEqual([
            {
              position: 2,
              topic: newer.topic,
              channels: newer.channels,
              camera: "north",
              body: newer.body,
              acceptedAt: expect.any(Number),
            },
          ]);
          expect(positions(journal.snapshot("dashboard"))).toEqual([2, 3]);
          expect(journal.state(newer.topic)?.position).toBe(2);
          expect(journal.snapshot("jobs")).toEqual([]);
        }
      });

      test("of topics without a channel is listed under NO_CHANNEL, also after reopening", async () => {
        const link = { ...state("north", "link"), channels: [] };
        await journal.append(state("north", "power"));
        await journal.append(link);
        for (const reopened of [false, true]) {
          if (reopened) journal = await place.open();
          expect(journal.snapshot(NO_CHANNEL)).toMatchObject([{ position: 2, topic: link.topic, channels: [] }]);
        }
        await journal.append({ ...link, state: "clear" });
        expect(journal.snapshot(NO_CHANNEL)).toEqual([]);
      });

      test("is removed by a clear, also within one write", async () => {
        await journal.append(state("north", "power"));
        await Promise.all([
          journal.append(state("north", "power", "clear")),
          journal.append(state("south", "power")),
          journal.append(state("south", "power", "clear")),
          journal.append(state("east", "power", "clear")),
          journal.append(state("east", "power")),
        ]);
        for (const reopened of [false, true]) {
          if (reopened) journal = await place.open();
          expect(positions(journal.snapshot("dashboard"))).toEqual([6]);
          expect(journal.snapshot("camera:north")).toEqual([]);
        }
      });

      test("is exact as of the head at any moment, while appends run", async () => {
        const names = ["power", "storage", "environment"];
        const appends = range(1, 600).map((index) =>
          journal.append(state(`c${index % 7}`, names[index % 3] ?? "power")),
        );
        // Position n is the nth append, so the expected state as of any head is known.
        const check = () => {
          const expected = new Map<string, number>();
          for (const index of range(1, journal.head)) expected.set(`c${index % 7}/${names[index % 3]}`, index);
          expect(positions(journal.snapshot("dashboard"))).toEqual([...expected.values()].sort((a, b) => a - b));
        };
        journal.follow(check);
        for (const append of appends) void append.then(check);
        await Promise.all(appends);
        check();
      });

      test("moves with its topic from one channel to another, and outlives its entry", async () => {
        let now = 1_000 * HOUR_MS;
        journal = await place.open({ now: () => now });
        await journal.append(state("north", "power"));
        await journal.append({ ...state("north", "power"), channels: ["camera:north", "jobs"] });
        expect(journal.snapshot("dashboard")).toEqual([]);
        expect(positions(journal.snapshot("jobs"))).toEqual([2]);
        now += 25 * HOUR_MS;
        await journal.trim();
        expect(await readAll(journal, ["camera:north"])).toEqual([]);
        journal = await place.open({ now: () => now });
        expect(positions(journal.snapshot("camera:north"))).toEqual([2]);
      });
    });

    describe("retention", () => {
      test("keeps the newest entries of each channel, and an entry as long as one of its channels keeps it", async () => {
        journal = await place.open({ retentionEvents: 10 });
        for (const position of range(1, 30))
          await journal.append(message({ camera: position % 10 === 0 ? "quiet" : "busy" }));
        await journal.trim();
        for (const reopened of [false, true]) {
          if (reopened) journal = await place.open({ retentionEvents: 10 });
          expect(positions(await readAll(journal, ["dashboard"]))).toEqual(range(21, 30));
          expect(positions(await readAll(journal, ["camera:quiet"]))).toEqual([10, 20, 30]);
          expect(positions(await readAll(journal, ["camera:busy"]))).toEqual([19, ...range(21, 29)]);
          expect(positions(await readAll(journal, ["camera:quiet", "dashboard"]))).toEqual([10, 20, ...range(21, 30)]);
        }
      });

      test("returns the number of removed entries, including entries without a channel", async () => {
        journal = await place.open({ retentionEvents: 5 });
        for (const index of range(1, 20)) await journal.append(message({ channels: index % 2 === 0 ? [] : ["jobs"] }));
        expect(await journal.trim()).toBe(10);
        expect(await journal.trim()).toBe(0);
      });

      test("removes entries that are too old by the given clock", async () => {
        let now = 1_000 * HOUR_MS;
        const options = { retentionHours: 2, now: () => now };
        journal = await place.open(options);
        await journal.append(message());
        now += HOUR_MS;
        await journal.append(message());
        now += 1.5 * HOUR_MS;
        expect(await journal.trim()).toBe(1);
        expect(positions(await readAll(journal, ["dashboard"]))).toEqual([2]);
        now += HOUR_MS;
        expect(await journal.trim()).toBe(1);
        expect(await readAll(journal, ["dashboard"])).toEqual([]);
        journal = await place.open(options);
        expect(journal.head).toBe(2);
        expect(await journal.append(message())).toEqual({ position: 3, duplicate: false });
      });

      test("keeps what a reader has not read, up to the reader's limit, and removes it afterwards", async () => {
        let now = 1_000 * HOUR_MS;
        const reader = { name: "archive", isShared: true, maxEvents: 1_000, position: () => read };
        let read: number | undefined;
        journal = await place.open({ retentionEvents: 10, retentionHours: 2, now: () => now });
        let end = journal.keepFor(reader);
        const channels = [["camera:a", "dashboard"], ["dashboard"], ["camera:b"]] as const;
        for (const _ of range(1, 20))
          await Promise.all(range(0, 11).map((n) => journal.append(message({ channels: channels[n % 3] ?? [] }))));
        /** The oldest position that the journal keeps. */
        const first = async () => {
          await journal.trim();
          // The journal removes whole chunks of at most 12 entries, so this position is not exact.
          return positions(await readAll(journal, ["dashboard", "camera:a", "camera:b"]))[0] ?? 0;
        };
        expect(await first()).toBe(1);
        read = 100;
        expect(await first()).toSatisfy((position: number) => position > 85 && position <= 101);
        now += 3 * HOUR_MS;
        expect(await first()).toSatisfy((position: number) => position > 85 && position <= 101);
        end();
        end = journal.keepFor({ ...reader, maxEvents: 40 });
        expect(await first()).toSatisfy((position: number) => position > 185 && position <= 201);
        read = 240;
        expect(await first()).toBe(0);
        end();
      });

      test("removes nothing without limits", async () => {
        journal = await place.open({
          retentionEvents: Number.POSITIVE_INFINITY,
          retentionHours: Number.POSITIVE_INFINITY,
        });
        await Promise.all(range(1, 200).map(() => journal.append(message())));
        expect(await journal.trim()).toBe(0);
        expect(positions(await readAll(journal, ["dashboard"]))).toEqual(range(1, 200));
      });

      test("runs without a call", async () => {
        journal = await place.open({ retentionEvents: 100 });
        for (let round = 0; round < 25; round++) await Promise.all(range(1, 100).map(() => journal.append(message())));
        await expect
          .poll(() => journal.recovery("dashboard", { epoch: journal.epoch, position: 1 }))
          .toMatchObject({
            reason: "trimmed",
          });
      });

      test("deletes ids together with their entries, and no earlier", async () => {
        journal = await place.open({ retentionEvents: 3 });
        await journal.append(message(withId("user:alice", "old")));
        await journal.append(message());
        await journal.trim();
        expect(await journal.append(message(withId("user:alice", "old")))).toMatchObject({ duplicate: true });
        for (const _ of range(1, 5)) await journal.append(message());
        await journal.trim();
        expect(await journal.append(message(withId("user:alice", "old")))).toMatchObject({ duplicate: false });
      });

      test("reports a gap to a reader that falls behind retention between two pages", async () => {
        journal = await place.open({ retentionEvents: 10 });
        for (const _ of range(1, 10)) await journal.append(message());
        const page = await journal.replay({ channels: ["dashboard"], after: 0, maxEvents: 4 });
        expect(page).toMatchObject({ next: 4, done: false });
        expect(page.gap).toBeUndefined();
        for (const _ of range(1, 8)) await journal.append(message());
        await journal.trim();
        const rest = await journal.replay({ channels: ["dashboard"], after: page.next });
        expect(rest.gap).toEqual({ after: 4, before: 9 });
        expect(positions(rest.entries)).toEqual(range(9, 18));
      });
    });

    describe("recovery", () => {
      test("is complete if every entry after the cursor is kept", async () => {
        for (const _ of range(1, 3)) await journal.append(message());
        for (const position of range(0, 3))
          expect(journal.recovery("dashboard", { epoch: journal.epoch, position })).toEqual({ complete: true });
        expect(journal.recovery("camera:unheard-of", { epoch: journal.epoch, position: 0 })).toEqual({
          complete: true,
        });
      });

      test("reports another epoch, a cursor ahead of the head, and a trimmed cursor", async () => {
        journal = await place.open({ retentionEvents: 3 });
        for (const position of range(1, 9))
          await journal.append(message({ camera: position === 2 ? "quiet" : "busy" }));
        await journal.trim();
        const { epoch } = journal;
        for (const reopened of [false, true]) {
          if (reopened) journal = await place.open({ retentionEvents: 3 });
          expect(journal.recovery("dashboard", { epoch: "other", position: 4 })).toEqual({
            complete: false,
            reason: "epoch_changed",
            gap: { after: 0, before: 7 },
          });
          expect(journal.recovery("dashboard", { epoch, position: 10 })).toEqual({
            complete: false,
            reason: "ahead",
            gap: { after: 9, before: 10 },
          });
          expect(journal.recovery("dashboard", { epoch, position: 5 })).toEqual({
            complete: false,
            reason: "trimmed",
            gap: { after: 5, before: 7 },
          });
          expect(journal.recovery("dashboard", { epoch, position: 6 })).toEqual({ complete: true });
          expect(journal.recovery("camera:quiet", { epoch, position: 0 })).toEqual({ complete: true });
        }
      });
    });

    describe("open commands", () => {
      const open = (text: string) => kept({ payload: Buffer.from(text), qos: 1, retain: true });
      const kept = (publication: Publication) => ({ open: publication });
      const unfinished = async () => {
        const found: string[] = [];
        for await (const { position, payload } of journal.unfinished())
          found.push(`${position} ${Buffer.from(payload)}`);
        return found;
      };

      test("are unfinished in the next run, in order, with unchanged payloads", async () => {
        const payload = Buffer.from([0, 255, 128, 10]);
        await journal.append(message(kept({ payload, qos: 2, retain: false })));
        const wide = message({ topic: "skylapse/v1/überall/🏔", ...open("b") });
        await Promise.all([journal.append(wide), journal.append(message()), journal.append(message(open("d")))]);
        expect(await unfinished()).toEqual([]);
        journal = await place.open();
        await journal.append(message(open("of this run")));
        const found = [];
        for await (const one of journal.unfinished()) found.push({ ...one, payload: Buffer.from(one.payload) });
        expect(found).toEqual([
          { position: 1, topic: message().topic, payload, qos: 2, retain: false },
          { position: 2, topic: wide.topic, payload: Buffer.from("b"), qos: 1, retain: true },
          { position: 4, topic: message().topic, payload: Buffer.from("d"), qos: 1, retain: true },
        ]);
      });

      test("are not returned again once they are finished, in any order", async () => {
        await Promise.all(["a", "b", "c", "d"].map((text) => journal.append(message(open(text)))));
        journal.finished(4);
        journal.finished(1);
        journal.finished(1);
        journal.finished(99);
        journal = await place.open();
        expect(await unfinished()).toEqual(["2 b", "3 c"]);
        journal.finished(2);
        expect(await unfinished()).toEqual(["3 c"]);
        journal = await place.open();
        expect(await unfinished()).toEqual(["3 c"]);
        journal.finished(3);
        journal = await place.open();
        expect(await unfinished()).toEqual([]);
      });

      test("are kept when retention has removed their entries", async () => {
        journal = await place.open({ retentionEvents: 1 });
        await journal.append(message(open("a")));
        for (const _ of range(1, 5)) await journal.append(message());
        await journal.trim();
        journal = await place.open();
        expect(await unfinished()).toEqual(["1 a"]);
      });
    });

    describe("closing", () => {
      test("waits for pending appends, rejects later appends, and is idempotent", async () => {
        const appends = Promise.all(range(1, 100).map(() => journal.append(message())));
        await Promise.all([journal.close(), journal.close()]);
        expect((await appends).length).toBe(100);
        await expect(journal.append(message())).rejects.toThrow(/closed/);
        await expect(journal.replay({ channels: ["dashboard"], after: 0 })).rejects.toThrow(/closed/);
        expect(journal.unavailableReason).toMatch(/closed/);
        journal = await place.open();
        expect(journal.head).toBe(100);
        expect(journal.unavailableReason).toBeUndefined();
      });
    });

    describeAgainstModel(createPlace);
  });
}
