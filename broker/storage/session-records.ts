import type { ClassicLevel } from "classic-level";
import { z } from "zod";

const PREFIX = "session:";
const END = "session;";

const recordSchema = z.object({
  identity: z.string(),
  permissions: z.array(z.string()),
  /** Milliseconds since 1970: when its client was last seen connecting or leaving. */
  seenAt: z.number(),
});

/** Whose a persistent session is, and what its owner was allowed when it was last there. */
export type SessionRecord = Readonly<z.infer<typeof recordSchema>>;

/** The owners of the persistent sessions, by client id: in memory, with a copy on disk. */
export class SessionRecords {
  readonly #db: ClassicLevel<string, Buffer>;
  readonly #records = new Map<string, SessionRecord>();

  constructor(db: ClassicLevel<string, Buffer>) {
    this.#db = db;
  }

  get size(): number {
    return this.#records.size;
  }

  async load(): Promise<void> {
    for await (const [key, value] of this.#db.iterator({ gte: PREFIX, lt: END })) {
      this.#records.set(key.slice(PREFIX.length), recordSchema.parse(JSON.parse(value.toString())));
    }
  }

  get(clientId: string): SessionRecord | undefined {
    return this.#records.get(clientId);
  }

  async put(clientId: string, record: SessionRecord): Promise<void> {
    this.#records.set(clientId, record);
    await this.#db.put(PREFIX + clientId, Buffer.from(JSON.stringify(record)));
  }

  async remove(clientId: string): Promise<void> {
    this.#records.delete(clientId);
    await this.#db.del(PREFIX + clientId);
  }

  /** The client ids that were last seen before the moment. */
  unseenSince(moment: number): string[] {
    return [...this.#records].filter(([, { seenAt }]) => seenAt < moment).map(([clientId]) => clientId);
  }
}
