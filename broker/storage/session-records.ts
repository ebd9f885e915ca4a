import type { ClassicLevel } from "classic-level";
import type { Logger } from "pino";
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
  readonly #logger: Logger;
  readonly #records = new Map<string, SessionRecord>();

  constructor(db: ClassicLevel<string, Buffer>, logger: Logger) {
    this.#db = db;
    this.#logger = logger;
  }

  get size(): number {
    return this.#records.size;
  }

  async load(): Promise<void> {
    for await (const [key, value] of this.#db.iterator({ gte: PREFIX, lt: END })) {
      const clientId = key.slice(PREFIX.length);
      const record = readRecord(value);
      if (record !== undefined) this.#records.set(clientId, record);
      else this.#logger.error({ clientId }, "the record of an MQTT session is damaged: the session is lost");
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

function readRecord(value: Buffer): SessionRecord | undefined {
  try {
    return recordSchema.parse(JSON.parse(value.toString()));
  } catch {
    return undefined;
  }
}
