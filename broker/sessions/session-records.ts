import type { ClassicLevel } from "classic-level";
import { z } from "zod";
import { Counts } from "../../platform/counts.ts";
import { sessionOwnerSchema } from "../access/session-owner.ts";

const PREFIX = "session:";
const END = "session;";

const recordSchema = sessionOwnerSchema.extend({
  /** When the session's client last connected or disconnected, milliseconds since 1970. */
  seenAt: z.number(),
});

export type SessionRecord = Readonly<z.infer<typeof recordSchema>>;

/** The owners of the persistent sessions, by session key: in memory, with a copy on disk. */
export class SessionRecords {
  readonly #db: ClassicLevel<string, Buffer>;
  readonly #records = new Map<string, SessionRecord>();
  /** Sessions per identity. */
  readonly #counts = new Counts();

  constructor(db: ClassicLevel<string, Buffer>) {
    this.#db = db;
  }

  get size(): number {
    return this.#records.size;
  }

  /** @returns the keys of the sessions whose records are unreadable */
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

  countOf(identity: string): number {
    return this.#counts.of(identity);
  }

  entries(): [key: string, record: SessionRecord][] {
    return [...this.#records];
  }

  async put(key: string, record: SessionRecord): Promise<void> {
    this.forget(key);
    this.#enter(key, record);
    await this.#db.put(PREFIX + key, Buffer.from(JSON.stringify(record)));
  }

  /** Removes the record from memory. {@link erase} removes it from disk. */
  forget(key: string): void {
    const record = this.#records.get(key);
    if (record === undefined) return;
    this.#records.delete(key);
    this.#counts.subtract(record.identity);
  }

  async erase(key: string): Promise<void> {
    await this.#db.del(PREFIX + key);
  }

  #enter(key: string, record: SessionRecord): void {
    this.#records.set(key, record);
    this.#counts.add(record.identity);
  }
}

function readRecord(value: Buffer): SessionRecord | undefined {
  try {
    const record = recordSchema.parse(JSON.parse(value.toString()));
    // Earlier versions did not store when a token was issued, which was no later than the last connection.
    const isOlder = record.issuedAt === undefined && record.identity.startsWith("user:");
    return isOlder ? { ...record, issuedAt: record.seenAt } : record;
  } catch {
    return undefined;
  }
}
