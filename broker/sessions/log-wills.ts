import type { Brokers } from "aedes";
import type { Logger } from "pino";
import { z } from "zod";
import type { BrokerRows } from "../../platform/publication-log.ts";
import { sessionName } from "../access/session-names.ts";
import { bearerOf } from "../access/session-owner.ts";
import type { Wills } from "../access/wills.ts";
import { type Session, storedWillSchema } from "./storage.ts";

/** The start of the keys of the wills' rows. The rest of a key is the session's key. */
const WILL_ROW = "will:";

export const willRowSchema = storedWillSchema.extend({ payload: z.base64() });
export type WillRow = z.infer<typeof willRowSchema>;

interface LogWillsOptions {
  rows: BrokerRows;
  wills: Wills;
  brokerId: string;
  /** The client's will is stored no longer. */
  onGone(client: string): void;
  logger: Logger;
}

/** The wills of the connected clients, and those that earlier runs have not published, in the journal's store. */
export class LogWills {
  readonly #options: LogWillsOptions;
  /** By session key. */
  readonly #rows = new Map<string, WillRow>();

  constructor(options: LogWillsOptions) {
    this.#options = options;
  }

  async load(): Promise<void> {
    for await (const [key, row] of this.#options.rows.load(WILL_ROW)) this.adopt(key.slice(WILL_ROW.length), row);
  }

  /** Takes over a will whose broker has ended. */
  adopt(client: string, row: string): void {
    const read = willRowSchema.safeParse(jsonOf(row));
    if (read.success) this.#rows.set(client, read.data);
    else this.#options.logger.error(sessionName(client), "a stored will is unreadable");
  }

  has(client: string): boolean {
    return this.#rows.has(client);
  }

  /** Another node has the client, and its will. */
  forget(client: string): void {
    this.#rows.delete(client);
  }

  /** Stores the will with its owner, because the next run of the broker may publish the will. */
  async put(client: Session, will: object): Promise<void> {
    const { wills, brokerId, rows } = this.#options;
    const bearer = wills.ownerOf(will)?.bearer;
    const { topic, payload, qos, retain } = willSchema.parse(will);
    const bytes = typeof payload === "string" ? Buffer.from(payload) : payload;
    const row = { clientId: client.id, brokerId, topic, qos, retain, payload: bytes.toString("base64") };
    wills.stored(client.id);
    if (bearer === undefined) return;
    this.#set(client.id, { ...row, ...bearerOf(bearer) });
    await rows.flush();
  }

  /** When a replaced connection closes, the will belongs to the newer connection and stays. */
  delete(client: Session & { brokerId?: string }): void {
    const { wills, brokerId } = this.#options;
    // Aedes passes the broker id when a connection has closed, and none when a client connects.
    if (client.brokerId === brokerId && wills.released(client.id)) return;
    if (!wills.consumeKept(client.id) && this.#rows.has(client.id)) this.#set(client.id, undefined);
  }

  /** The wills that an earlier run has not published. */
  async *orphans(brokers: Brokers): AsyncGenerator<object> {
    const { wills, brokerId } = this.#options;
    wills.expirePublishing();
    for (const row of [...this.#rows.values()]) {
      const { brokerId: run, clientId, topic, payload, qos, retain, ...bearer } = row;
      if (run === brokerId || brokers[run] !== undefined || wills.isPublishing(clientId)) continue;
      const owner = { key: clientId, bearer };
      if (wills.isVoid(owner)) {
        this.#set(clientId, undefined);
        continue;
      }
      const will = { clientId, topic, payload: Buffer.from(payload, "base64"), qos, retain };
      wills.assign(will, owner);
      wills.beginPublishing(clientId);
      yield will;
    }
  }

  #set(key: string, row: WillRow | undefined): void {
    if (row === undefined) this.#rows.delete(key);
    else this.#rows.set(key, row);
    this.#options.rows.set(WILL_ROW + key, row === undefined ? undefined : JSON.stringify(row));
    if (row === undefined) this.#options.onGone(key);
  }
}

const willSchema = z.object({
  topic: z.string(),
  payload: z.union([z.string(), z.instanceof(Buffer)]),
  qos: storedWillSchema.shape.qos.default(0),
  retain: z.boolean().default(false),
});

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
