import { describe, expect, test } from "vitest";
import type { Journal } from "../../../bridge/journal/journal.ts";
import type { JournalPlace } from "./journal-suite.ts";
import { from, message, range } from "./messages.ts";

const NORTH = "device:north";
const MALLORY = "device:mallory";

/** Sends the first message of each session, one after the other. @returns the sessions whose message was a duplicate */
async function send(journal: Journal, sender: string, sessions: readonly string[]): Promise<string[]> {
  const known: string[] = [];
  for (const session of sessions) {
    const { duplicate } = await journal.append(message(from(sender, session, 1)));
    if (duplicate) known.push(session);
  }
  return known;
}

/** Like {@link send}, but with all messages at once. */
async function flood(journal: Journal, sender: string, count: number): Promise<void> {
  await Promise.all(range(1, count).map((n) => journal.append(message(from(sender, `s${n}`, 1)))));
}

/** Tests which sessions a journal remembers, and which it evicts. */
export function describeSessions(place: () => JournalPlace): void {
  describe("sessions", () => {
    test("of a sender are kept, however many sessions another sender uses", async () => {
      const journal = await place().open();
      await send(journal, NORTH, ["boot1"]);
      await flood(journal, MALLORY, 10_000);
      expect(await send(journal, NORTH, ["boot1"])).toEqual(["boot1"]);
      expect(await send(journal, MALLORY, ["s10000", "s1"])).toEqual(["s10000"]);
      expect(await send(await place().open(), NORTH, ["boot1"])).toEqual(["boot1"]);
    });

    test("of a sender are kept, however many other senders misbehave at once", async () => {
      const limits = { maxSessions: 40, maxSessionsPerSender: 16 };
      const journal = await place().open({ limits });
      const honest = range(1, 10).map((n) => `device:honest-${n}`);
      for (const sender of honest) await send(journal, sender, ["boot1", "boot2"]);
      for (const n of range(1, 12)) await flood(journal, `device:mallory-${n}`, 30);
      for (const sender of honest) expect(await send(journal, sender, ["boot2"])).toEqual(["boot2"]);
      const again = await place().open({ limits });
      for (const sender of honest) expect(await send(again, sender, ["boot2"])).toEqual(["boot2"]);
    });

    test("of one sender are kept up to maxSessionsPerSender: the last used sessions, with all their sequence numbers", async () => {
      const limits = { maxSessionsPerSender: 3 };
      let journal = await place().open({ limits });
      await send(journal, NORTH, ["a", "b", "c"]);
      await journal.append(message(from(NORTH, "a", 2)));
      await send(journal, NORTH, ["d"]);
      for (const reopened of [false, true]) {
        if (reopened) journal = await place().open({ limits });
        expect(await send(journal, NORTH, ["a", "c", "d"])).toEqual(["a", "c", "d"]);
        expect(await journal.append(message(from(NORTH, "a", 2)))).toMatchObject({ duplicate: true });
      }
      expect(await send(journal, NORTH, ["b"])).toEqual([]);
      // The new session b evicted the least recently used session, c.
      expect(await send(journal, NORTH, ["c"])).toEqual([]);
    });

    test("beyond maxSessions are evicted from the sender with the most sessions", async () => {
      const limits = { maxSessions: 6 };
      const journal = await place().open({ limits });
      await send(journal, "device:one", ["a"]);
      await send(journal, "device:two", ["a", "b"]);
      await send(journal, "device:many", ["a", "b", "c"]);
      await send(journal, "device:new", ["a"]);
      expect(await send(journal, "device:one", ["a"])).toEqual(["a"]);
      expect(await send(journal, "device:two", ["a", "b"])).toEqual(["a", "b"]);
      expect(await send(journal, "device:many", ["b", "c"])).toEqual(["b", "c"]);
      expect(await send(journal, "device:new", ["a"])).toEqual(["a"]);
      expect(await send(journal, "device:many", ["a"])).toEqual([]);
    });

    test("are evicted from the sender that first reached the highest number, if several senders have that number", async () => {
      const journal = await place().open({ limits: { maxSessions: 3 } });
      for (const sender of ["device:b", "device:c", "device:a", "device:d"]) await send(journal, sender, ["s"]);
      for (const sender of ["device:c", "device:a", "device:d"])
        expect(await send(journal, sender, ["s"])).toEqual(["s"]);
      expect(await send(journal, "device:b", ["s"])).toEqual([]);
    });

    test("that exceeded lower limits stay evicted after the limits are raised", async () => {
      const many = range(1, 9).map((n) => `s${n}`);
      await send(await place().open(), NORTH, many);
      await send(await place().open({ limits: { maxSessionsPerSender: 4 } }), NORTH, ["new"]);
      const left = await send(await place().open(), NORTH, ["new", ...many.toReversed()]);
      expect(left).toEqual(["new", "s9", "s8", "s7"]);
    });

    test("are remembered until their waiting messages are written, even after an eviction", async () => {
      const journal = await place().open({ limits: { maxSessionsPerSender: 2 } });
      const origins = range(1, 50).flatMap((seq) => range(1, 50).map((n) => from(MALLORY, `s${n}`, seq)));
      const appended = origins.map((origin) => journal.append(message(origin)));
      // The first write has evicted all of the sender's sessions except two.
      await appended[0];
      const again = await Promise.all(origins.slice(-500).map((origin) => journal.append(message(origin))));
      expect(again.filter(({ duplicate }) => !duplicate)).toEqual([]);
      await Promise.all(appended);
      expect(journal.head).toBe(origins.length);
    });

    test("are kept and evicted as in a simple model, for many messages in random order", async () => {
      const limits = { maxSessions: 12, maxSessionsPerSender: 5 };
      let journal = await place().open({ limits });
      const expected = new Rules(limits);
      let random = 7;
      const next = (below: number) => {
        random = (random * 48_271) % 2_147_483_647;
        return random % below;
      };
      for (const turn of range(1, 600)) {
        // One sender uses many sessions. The other senders use few sessions.
        const who = next(6);
        const [sender, session, seq] = [`device:${who}`, `s${next(who === 0 ? 20 : 4)}`, next(3)];
        const { duplicate } = await journal.append(message(from(sender, session, seq)));
        expect([turn, duplicate]).toEqual([turn, expected.isKnown(sender, session, seq)]);
        if (turn === 300) journal = await place().open({ limits });
      }
    });
  });
}

/** A simple model of the eviction rules. */
class Rules {
  readonly #limits: { maxSessions: number; maxSessionsPerSender: number };
  readonly #senders = new Map<string, { sessions: { name: string; seqs: Set<number> }[]; since: number }>();
  #changes = 0;

  constructor(limits: { maxSessions: number; maxSessionsPerSender: number }) {
    this.#limits = limits;
  }

  isKnown(sender: string, name: string, seq: number): boolean {
    const of = this.#senders.get(sender) ?? { sessions: [], since: 0 };
    this.#senders.set(sender, of);
    const index = of.sessions.findIndex((session) => session.name === name);
    const session = of.sessions[index] ?? { name, seqs: new Set() };
    if (session.seqs.has(seq)) return true;
    session.seqs.add(seq);
    if (index >= 0) of.sessions.splice(index, 1);
    else of.since = ++this.#changes;
    of.sessions.push(session);
    if (of.sessions.length > this.#limits.maxSessionsPerSender) this.#forget(of);
    const all = [...this.#senders.values()].reduce((sum, { sessions }) => sum + sessions.length, 0);
    if (all > this.#limits.maxSessions) {
      const most = [...this.#senders.values()].sort(
        (a, b) => b.sessions.length - a.sessions.length || a.since - b.since,
      );
      if (most[0] !== undefined) this.#forget(most[0]);
    }
    return false;
  }

  #forget(of: { sessions: unknown[]; since: number }): void {
    of.sessions.shift();
    of.since = ++this.#changes;
  }
}
