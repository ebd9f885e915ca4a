import { join } from "node:path";
import { ClassicLevel } from "classic-level";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Journal } from "../../../bridge/journal/journal.ts";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import type { LoggedPublication, PublicationLog } from "../../../platform/publication-log.ts";
import { LONG, TIMEOUT_MS } from "../../support/long-form.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { createLevelPlace } from "./level-place.ts";
import { message } from "./messages.ts";
import { createRedisPlace } from "./redis-place.ts";

let server: RedisServer;

beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.remove());

interface Place {
  open(options?: object): Promise<Journal>;
  dispose(): Promise<void>;
}

/** A reader of some topics, as a session is. */
interface Reader {
  topics: ReadonlySet<string>;
  sent: number;
}

type Step =
  | { kind: "publish"; topics: number[]; bytes: number }
  | { kind: "join"; topics: number[] }
  | { kind: "read"; reader: number }
  | { kind: "leave"; reader: number }
  | { kind: "compact"; from: number; to: number }
  | { kind: "trim" }
  | { kind: "restart" };

const topic = fc.integer({ min: 0, max: 3 });
const share = fc.double({ min: 0, max: 1, noNaN: true });
const reader = fc.nat({ max: 3 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("publish" as const),
      topics: fc.array(topic, { minLength: 1, maxLength: 30 }),
      bytes: fc.constantFrom(1, 200, 30_000),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("join" as const),
      topics: fc.uniqueArray(topic, { minLength: 1, maxLength: 2 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("read" as const), reader }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("leave" as const), reader }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("compact" as const), from: share, to: share }) },
  { weight: 1, arbitrary: fc.constant({ kind: "trim" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "restart" as const }) },
);

class Run {
  readonly #place: Place;
  #journal: Journal;
  readonly #published: { topic: string; position: number }[] = [];
  readonly #readers: Reader[] = [];

  constructor(place: Place, journal: Journal) {
    this.#place = place;
    this.#journal = journal;
  }

  get #log(): PublicationLog {
    return logOf(this.#journal);
  }

  async do(one: Step): Promise<void> {
    const { head } = this.#log;
    if (one.kind === "publish") {
      const payload = Buffer.alloc(one.bytes, 1);
      const appends = one.topics.map(async (n) => {
        const publish = { payload, qos: 1 as const, retain: false };
        const { position } = await this.#journal.append(message({ topic: `t${n}`, channels: [], publish }));
        if (position !== undefined) this.#published.push({ topic: `t${n}`, position });
      });
      await Promise.all(appends);
    } else if (one.kind === "join") this.#readers.push({ topics: new Set(one.topics.map((n) => `t${n}`)), sent: head });
    else if (one.kind === "leave") this.#readers.splice(one.reader, 1);
    else if (one.kind === "compact") {
      const [after, upTo] = [one.from, one.to].sort((a, b) => a - b).map((part) => Math.round(part * head));
      await this.#log
        .compact({ after: after ?? 0, upTo: upTo ?? 0 }, (publication) => this.#isWanted(publication))
        // A trim under way has changed the log: the caller tries again later.
        .catch((error: unknown) => {
          if (!(error instanceof StoreUnavailableError)) throw error;
        });
    } else if (one.kind === "trim") this.#log.trim(Math.min(head, ...this.#readers.map(({ sent }) => sent)));
    else if (one.kind === "restart") this.#journal = await this.#place.open();
    else {
      const found = this.#readers[one.reader];
      if (found !== undefined) await this.#read(found);
    }
  }

  async readAll(): Promise<void> {
    for (const one of this.#readers) await this.#read(one);
  }

  #isWanted({ topic: name, position }: LoggedPublication): boolean {
    return this.#readers.some(({ topics, sent }) => topics.has(name) && sent < position);
  }

  async #read(one: Reader): Promise<void> {
    const { head } = this.#log;
    const got: number[] = [];
    for (let after = one.sent; after < head; ) {
      const page = await this.#log.read(after);
      expect(page.missing).toBeUndefined();
      expect(page.next).toBeGreaterThan(after);
      got.push(...page.publications.filter(({ topic: name }) => one.topics.has(name)).map(({ position }) => position));
      after = page.next;
    }
    const wanted = this.#published.filter(({ topic: name, position }) => one.topics.has(name) && position > one.sent);
    expect(got).toEqual(wanted.map(({ position }) => position).sort((a, b) => a - b));
    one.sent = head;
  }
}

describe.each([
  ["LevelDB", createLevelPlace],
  ["Redis", () => createRedisPlace(server.url)],
])("compaction in %s", (_, createPlace: () => Promise<Place>) => {
  test("each reader gets what it wants, in order, whatever is compacted, trimmed and restarted", {
    timeout: TIMEOUT_MS,
  }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30 }), async (steps) => {
        const place = await createPlace();
        try {
          const run = new Run(place, await place.open({ sync: false }));
          for (const one of steps) await run.do(one);
          await run.readAll();
        } finally {
          await place.dispose();
        }
      }),
      { numRuns: LONG ? 500 : 15 },
    );
  });
});

test("a compaction removes what nobody wants, joins rows, and leaves damage visible", async () => {
  const place = await createLevelPlace();
  try {
    let journal = await place.open({ sync: false });
    const publish = { payload: Buffer.alloc(1_000, 1), qos: 1 as const, retain: false };
    for (let n = 0; n < 60; n++) await journal.append(message({ topic: n % 20 === 0 ? "rare" : "often", publish }));
    const positions = async () => {
      const { publications, missing, next } = await logOf(journal).scan(0);
      return { positions: publications.map(({ position }) => position), missing, next };
    };
    const isRare = ({ topic: name }: LoggedPublication) => name === "rare";
    const removed: [upTo: number, bytes: number][] = [];
    logOf(journal).onCompacted((upTo, bytes) => removed.push([upTo, bytes]));
    await logOf(journal).compact({ after: 0, upTo: 30 }, isRare);
    expect(removed).toEqual([[30, 28 * 1_045]]);
    expect((await positions()).positions.slice(0, 3)).toEqual([1, 21, 31]);
    await logOf(journal).compact({ after: 0, upTo: 30 }, isRare);
    expect(removed).toHaveLength(1);
    await journal.close();
    const db = new ClassicLevel<string, Uint8Array>(join(place.path, "log"), { valueEncoding: "view" });
    await db.del((await db.keys({ gte: "p", lt: "q" }).all())[1] ?? "");
    await db.close();
    journal = await place.open({ sync: false });
    await logOf(journal).compact({ after: 0, upTo: 40 }, () => false);
    await logOf(journal).compact({ after: 40, upTo: 60 }, () => false);
    expect(await positions()).toMatchObject({ positions: [1, 21] });
    expect(await logOf(journal).scan(30)).toMatchObject({ missing: { after: 30, before: 32 }, next: 60 });
    await journal.append(message({ topic: "often", publish }));
    expect(await logOf(journal).scan(40)).toMatchObject({ publications: [{ position: 61 }], next: 61 });
  } finally {
    await place.dispose();
  }
});

test("the loss of a joined row is reported", async () => {
  const place = await createLevelPlace();
  try {
    let journal = await place.open({ sync: false });
    const publish = { payload: Buffer.alloc(20_000, 1), qos: 1 as const, retain: false };
    for (let n = 0; n < 40; n++) await journal.append(message({ topic: "often", publish }));
    await logOf(journal).compact({ after: 0, upTo: 40 }, ({ position }) => position % 2 === 0);
    await journal.close();
    const db = new ClassicLevel<string, Uint8Array>(join(place.path, "log"), { valueEncoding: "view" });
    const keys = await db.keys({ gte: "p", lt: "q" }).all();
    expect(keys.map((key) => Number(key.slice(1)))).toEqual([14, 28, 40]);
    await db.del(keys[1] ?? "");
    await db.close();
    journal = await place.open({ sync: false });
    expect(await logOf(journal).scan(14)).toMatchObject({ missing: { after: 14, before: 30 }, next: 40 });
  } finally {
    await place.dispose();
  }
});

function logOf(journal: Journal): PublicationLog {
  if (journal.mqtt === undefined) throw new Error("the journal keeps no log");
  return journal.mqtt.publications;
}
