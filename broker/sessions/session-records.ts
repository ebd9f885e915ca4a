import type { ClassicLevel } from "classic-level";
import { z } from "zod";
import { sessionOwnerSchema } from "../access/session-owner.ts";

const PREFIX = "session:";
const END = "session;";

const recordSchema = sessionOwnerSchema.extend({
  /** Milliseconds since 1970: when its client was last seen connecting or leaving. */
  seenAt: z.number(),
});

/** Whose a persistent session is, and what its owner was allowed when it was last there. */
export type SessionRecord = Readonly<z.infer<typeof recordSchema>>;

/** The owners of the persistent sessions, by the name of the session: in memory, with a copy on disk. */
export class SessionRecords {
  readonly #db: ClassicLevel<string, Buffer>;
  readonly #records = new Map<string, SessionRecord>();
  readonly #counts = new Map<string, number>();

  constructor(db: ClassicLevel<string, Buffer>) {
    this.#db = db;
  }

  get size(): number {
    return this.#records.size;
  }

  /** @returns the names of the sessions whose records cannot be read */
  async load(): Promise<string[]> {
    const unreadable: string[] = [];
    for await (const [key, value] of this.#db.iterator({ gte: PREFIX, lt: END })) {
      const name = key.slice(PREFIX.length);
      const record = readRecord(value);
      if (record !== undefined) this.#enter(name, record);
      else unreadable.push(name);
    }
    return unreadable;
  }

  get(key: string): SessionRecord | undefined {
    return this.#records.get(key);
  }

  /** How many an identity has. */
  countOf(identity: string): number {
    return this.#counts.get(identity) ?? 0;
  }

  entries(): [key: string, record: SessionRecord][] {
    return [...this.#records];
  }

  async put(key: string, record: SessionRecord): Promise<void> {
    this.forget(key);
    this.#enter(key, record);
    await this.#db.put(PREFIX + key, Buffer.from(JSON.stringify(record)));
  }

  /** In memory alone, until {@link erase}: the session is nobody's from now on. */
  forget(key: string): void {
    const record = this.#records.get(key);
    if (record === undefined) return;
    this.#records.delete(key);
    const left = this.countOf(record.identity) - 1;
    if (left > 0) this.#counts.set(record.identity, left);
    else this.#counts.delete(record.identity);
  }

  async erase(key: string): Promise<void> {
    await this.#db.del(PREFIX + key);
  }

  #enter(key: string, record: SessionRecord): void {
    this.#records.set(key, record);
    this.#counts.set(record.identity, this.countOf(record.identity) + 1);
  }
}

function readRecord(value: Buffer): SessionRecord | undefined {
  try {
    const record = recordSchema.parse(JSON.parse(value.toString()));
    // Earlier versions did not write down when a token was issued. It cannot be younger.
    const isOlder = record.issuedAt === undefined && record.identity.startsWith("user:");
    return isOlder ? { ...record, issuedAt: record.seenAt } : record;
  } catch {
    return undefined;
  }
}
