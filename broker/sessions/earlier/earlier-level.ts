import { existsSync } from "node:fs";
import { rename } from "node:fs/promises";
import { decode } from "@msgpack/msgpack";
import type { ClassicLevel } from "classic-level";
import type { Logger } from "pino";
import { z } from "zod";
import { messageOf } from "../../../platform/errors.ts";
import { type Loss, openStore } from "../../../platform/level/open-store.ts";
import { namesIn } from "../../../platform/level/scan.ts";
import type { IncomingId } from "../../../platform/publication-log.ts";
import { describeSession } from "../../access/session-names.ts";
import { storedWillSchema } from "../storage.ts";
import type { WillRow } from "../will-row.ts";
import {
  attempt,
  type EarlierDamage,
  type EarlierPlace,
  type EarlierSession,
  type EarlierStore,
  type QueuedCopy,
  readMessage,
  readRecord,
} from "./earlier-store.ts";
import { merged } from "./merged.ts";
import type { QueuedMessage } from "./queued-message.ts";

const LEVEL = { keyEncoding: "utf8", valueEncoding: "buffer" } as const;
/** Rows that are read at once. */
const PAGE = 128;
/** The least that LevelDB reads ahead for each of the sessions' queues, which are read side by side. */
const BYTES_PER_READ = 32 * 1024;

const qosSchema = z.union([z.literal(0), z.literal(1), z.literal(2)]);
const subscriptionSchema = z.object({ topic: z.string(), qos: qosSchema });
const willSchema = storedWillSchema.extend({ payload: z.instanceof(Buffer) });

/**
 * Reads the store of versions before the log: LevelDB with a row for each session, subscription, will, retained
 * message, incoming message id, and for each copy of a message in the queue of a session.
 */
class LevelEarlierStore implements EarlierStore {
  readonly #db: ClassicLevel<string, Buffer>;
  readonly damage: EarlierDamage = { loss: undefined, rows: [], sessions: [] };

  constructor(db: ClassicLevel<string, Buffer>, loss: Loss | undefined) {
    this.#db = db;
    if (loss !== undefined) this.damage.loss = { reason: loss.reason, whose: concernedBy(loss) };
  }

  async close(): Promise<void> {
    await this.#db.close();
  }

  async boot(): Promise<number> {
    return Number((await this.#db.get("boot"))?.toString() ?? 0);
  }

  async sessions(): Promise<Map<string, EarlierSession>> {
    const sessions = new Map<string, EarlierSession>();
    const ownerless = new Set<string>();
    for await (const [key, row] of this.#rows("session")) {
      const record = readRecord(row.toString());
      if (record === undefined) ownerless.add(key);
      else {
        const { seenAt, ...owner } = record;
        sessions.set(key, { owner, seenAt, filters: new Map() });
      }
    }
    for await (const [key, row] of this.#rows("subscriptions")) {
      const [name = ""] = key.split(":", 1);
      const session = sessions.get(decoded(name));
      if (session === undefined) {
        ownerless.add(decoded(name));
        continue;
      }
      const read = subscriptionSchema.safeParse(decodedRow(row));
      if (read.success) session.filters.set(read.data.topic, read.data.qos);
      else this.damage.rows.push(`the filter ${key.slice(name.length + 1)} of ${describeSession(decoded(name))}`);
    }
    for (const name of await this.#queues()) if (!sessions.has(decoded(name))) ownerless.add(decoded(name));
    this.damage.sessions.push(...[...ownerless].sort());
    return sessions;
  }

  async *retained(): AsyncGenerator<QueuedMessage> {
    for await (const [topic, row] of this.#rows("retained")) {
      const message = readMessage(row);
      if (message === undefined) this.damage.rows.push(`the retained message of ${topic}`);
      else yield { ...message, topic };
    }
  }

  async *wills(): AsyncGenerator<WillRow> {
    for await (const [name, row] of this.#rows("will")) {
      const read = willSchema.safeParse(decodedRow(row));
      if (read.success) yield { ...read.data, payload: read.data.payload.toString("base64") };
      else this.damage.rows.push(`the will of ${describeSession(decoded(name))}`);
    }
  }

  async *incomingIds(sessions: ReadonlyMap<string, unknown>): AsyncGenerator<IncomingId> {
    for await (const [key] of this.#rows("incoming")) {
      const [name = "", messageId] = key.split(":");
      if (sessions.has(decoded(name))) yield { session: decoded(name), messageId: Number(messageId) };
    }
  }

  async *queued(sessions: ReadonlyMap<string, unknown>): AsyncGenerator<QueuedCopy[]> {
    const names = (await this.#queues()).filter((name) => sessions.has(decoded(name)));
    yield* merged(names.map((name) => this.#queue(name)));
  }

  async *#queue(name: string): AsyncGenerator<QueuedCopy[]> {
    const prefix = `outgoing:${name}:`;
    const session = decoded(name);
    for await (const page of this.#pages({ gte: prefix, lt: `outgoing:${name};` })) {
      const copies: QueuedCopy[] = [];
      for (const [key, row] of page) {
        const message = readMessage(row);
        const isUsable = message !== undefined && !(message.isPubrel && message.messageId === undefined);
        if (isUsable) copies.push({ session, order: key.slice(prefix.length), message });
        else this.damage.rows.push(`a queued message of ${describeSession(session)}`);
      }
      yield copies;
    }
  }

  /** The names in the keys of the queues. Reads one row of each queue. */
  async #queues(): Promise<string[]> {
    const names: string[] = [];
    const keys = this.#db.keys({ gte: "outgoing:", lt: "outgoing;" });
    try {
      for (let key = await keys.next(); key !== undefined; key = await keys.next()) {
        const [, name = ""] = key.split(":", 2);
        names.push(name);
        keys.seek(`outgoing:${name};`);
      }
    } finally {
      await keys.close();
    }
    return names;
  }

  /** The rows of one kind, with the rest of their keys. */
  async *#rows(kind: string): AsyncGenerator<[string, Buffer]> {
    const prefix = `${kind}:`;
    for await (const page of this.#pages({ gte: prefix, lt: `${kind};` }))
      for (const [key, row] of page) yield [key.slice(prefix.length), row];
  }

  async *#pages(range: { gte: string; lt: string }): AsyncGenerator<[string, Buffer][]> {
    const rows = this.#db.iterator({ ...range, highWaterMarkBytes: BYTES_PER_READ });
    try {
      for (;;) {
        const page = await rows.nextv(PAGE);
        // Fewer rows than requested are not the end.
        if (page.length === 0) return;
        yield page;
      }
    } finally {
      await rows.close();
    }
  }
}

/** The folder of a store in LevelDB. It need not exist. An operator can return to the earlier version with it. */
export function earlierFolder(path: string, logger: Logger): EarlierPlace {
  return {
    name: path,
    async open() {
      if (!existsSync(path)) return undefined;
      // Repairs a damaged store.
      const { db, loss } = await openStore<Buffer>({ folder: path, what: "the store of MQTT sessions", level: LEVEL });
      return new LevelEarlierStore(db, loss);
    },
    async setAside() {
      let target = `${path}-before-one-log`;
      for (let number = 2; existsSync(target); number++) target = `${path}-before-one-log-${number}`;
      try {
        await rename(path, target);
      } catch (error) {
        logger.warn(
          { why: messageOf(error), path },
          "folder of the earlier version's MQTT sessions not renamed, not used",
        );
      }
    },
  };
}

function decodedRow(row: Buffer): unknown {
  return attempt(() => decode(row));
}

function decoded(name: string): string {
  return attempt(() => decodeURIComponent(name)) ?? name;
}

const SESSION_KEY_START = /(?:session|subscriptions|outgoing|incoming|will):/g;

function concernedBy({ logParts, ranges, isBounded }: Loss): string {
  const rows = ranges.map(({ from, to }) => `rows from ${from || "the first"} to ${to}`);
  const sessions = namesIn(logParts, SESSION_KEY_START, sessionOf).map(describeSession);
  const which = [...sessions, ...rows].join(", ");
  return which === "" || !isBounded ? `any session, certainly ${which || "none"}` : which;
}

/** The key of the session that a row belongs to. */
function sessionOf(key: string): string | undefined {
  const [kind, name = ""] = key.split(":");
  if (name === "") return undefined;
  // Only a record's row contains the session key unencoded.
  return kind === "session" ? key.slice("session:".length) : decoded(name);
}
