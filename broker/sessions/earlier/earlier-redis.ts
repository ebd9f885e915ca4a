import { setTimeout as after } from "node:timers/promises";
import type { Logger } from "pino";
import { z } from "zod";
import { StoreUnusableError } from "../../../platform/level/errors.ts";
import type { IncomingId } from "../../../platform/publication-log.ts";
import type { Connection } from "../../../platform/redis/connection.ts";
import type { RedisConnections } from "../../../platform/redis/connections.ts";
import { describeSession } from "../../access/session-names.ts";
import { type WillRow, willRowSchema } from "../will-row.ts";
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

const FIELDS_PER_READ = 500;
/** Messages of one queue that are read at once, and about how large they are together: all queues are read side by side. */
const MESSAGES_PER_READ = 128;
const BYTES_PER_READ = 32 * 1024;
const LOG_ENTRIES_PER_READ = 256;
const SESSIONS_PER_REMOVAL = 100;
/** A node of the earlier version wrote a heartbeat at least every 5 s. */
const HEARTBEAT_LIFE_MS = 15_000;
const HEARTBEAT_POLL_MS = 500;
/** Numbers of the earlier log have at most this many digits. */
const ORDER_DIGITS = 16;

const KEYS = ["log", "seq", "changed", "totals", "filters", "seen", "retained", "wills", "nodes", "owners"] as const;
const filtersSchema = z.array(z.tuple([z.string(), z.union([z.literal(0), z.literal(1), z.literal(2)])]));

/**
 * The keys in Redis of versions before the log, which all begin with `{prefix}mqtt:`. The key `boot` is removed last, so
 * an interrupted removal goes on at the next start.
 */
export function earlierRedis(redis: RedisConnections, logger: Logger): EarlierPlace {
  const connection = redis.bulk;
  const key: KeyOf = (name) => `${redis.prefix}mqtt:${name}`;
  return {
    name: "redis",
    async open() {
      if ((await connection.do((redis) => redis.exists(key("boot")))) === 0) return undefined;
      await demandNoNode(connection, key("nodes"), logger);
      return new RedisEarlierStore(connection, key);
    },
    setAside: () => removeAll(connection, key),
  };
}

type KeyOf = (name: string) => string;

/** @throws {StoreUnusableError} a node of the earlier version runs */
async function demandNoNode(connection: Connection, nodes: string, logger: Logger): Promise<void> {
  let newest: number | undefined;
  for (;;) {
    const [, score] = await connection.do((redis) => redis.zrevrange(nodes, 0, 0, "WITHSCORES"));
    const [seconds] = await connection.do((redis) => redis.time());
    const beat = Number(score ?? 0);
    if (Number(seconds) * 1_000 - beat > HEARTBEAT_LIFE_MS) return;
    if (newest !== undefined && beat > newest)
      throw new StoreUnusableError(
        "a node of the earlier version runs with this Redis, and a newer version cannot run beside it: " +
          "stop all nodes, then start the new version",
      );
    if (newest === undefined)
      logger.info("waiting up to 15 s: a node of the earlier version has ended just now, or still runs");
    newest = beat;
    await after(HEARTBEAT_POLL_MS);
  }
}

async function removeAll(connection: Connection, key: KeyOf): Promise<void> {
  let cursor = "0";
  do {
    const [next, fields] = await connection.do((redis) =>
      redis.hscan(key("owners"), cursor, "COUNT", SESSIONS_PER_REMOVAL),
    );
    cursor = next;
    const sessions = fields.filter((_, index) => index % 2 === 0);
    if (sessions.length === 0) continue;
    const names = sessions.flatMap((name) => [`incoming:${name}`, `queue:${name}`, `packets:${name}`]);
    await connection.do((redis) => redis.unlink(...names.map(key)));
    await connection.do((redis) => redis.hdel(key("owners"), ...sessions));
  } while (cursor !== "0");
  for (const name of KEYS) await connection.do((redis) => redis.unlink(key(name)));
  await connection.do((redis) => redis.unlink(key("boot")));
}

class RedisEarlierStore implements EarlierStore {
  readonly #connection: Connection;
  readonly #key: KeyOf;
  readonly damage: EarlierDamage = { loss: undefined, rows: [], sessions: [] };

  constructor(connection: Connection, key: KeyOf) {
    this.#connection = connection;
    this.#key = key;
  }

  async close(): Promise<void> {}

  async boot(): Promise<number> {
    return Number((await this.#connection.do((redis) => redis.get(this.#key("boot")))) ?? 0);
  }

  async sessions(): Promise<Map<string, EarlierSession>> {
    const sessions = new Map<string, EarlierSession>();
    for await (const page of this.#fields("owners")) {
      const seen = await this.#connection.do((redis) => redis.zmscore(this.#key("seen"), ...page.map(([key]) => key)));
      for (const [index, [key, owner]] of page.entries()) {
        const record = readRecord(owner.toString(), Number(seen[index] ?? 0));
        if (record === undefined) this.damage.sessions.push(key);
        else {
          const { seenAt, ...rest } = record;
          sessions.set(key, { owner: rest, seenAt, filters: new Map() });
        }
      }
    }
    for await (const page of this.#fields("filters"))
      for (const [key, text] of page) {
        const read = filtersSchema.safeParse(attempt(() => JSON.parse(text.toString())));
        const session = sessions.get(key);
        if (!read.success) this.damage.rows.push(`the filters of ${describeSession(key)}`);
        else if (session !== undefined) session.filters = new Map(read.data);
      }
    this.damage.sessions.sort();
    return sessions;
  }

  async *retained(): AsyncGenerator<QueuedMessage> {
    for await (const page of this.#fields("retained"))
      for (const [topic, row] of page) {
        const message = readMessage(row);
        if (message === undefined) this.damage.rows.push(`the retained message of ${topic}`);
        else yield { ...message, topic };
      }
  }

  async *wills(): AsyncGenerator<WillRow> {
    for await (const page of this.#fields("wills"))
      for (const [key, row] of page) {
        const read = willRowSchema.safeParse(attempt(() => JSON.parse(row.toString())));
        if (read.success) yield read.data;
        else this.damage.rows.push(`the will of ${describeSession(key)}`);
      }
  }

  async *incomingIds(sessions: ReadonlyMap<string, unknown>): AsyncGenerator<IncomingId> {
    for (const session of sessions.keys())
      for (const id of await this.#connection.do((redis) => redis.smembers(this.#key(`incoming:${session}`))))
        yield { session, messageId: Number(id) };
  }

  async *queued(sessions: ReadonlyMap<string, unknown>): AsyncGenerator<QueuedCopy[]> {
    yield* merged([...sessions.keys()].map((session) => this.#queue(session)));
  }

  /** The newest messages of the earlier log. */
  async *published(): AsyncGenerator<QueuedMessage> {
    for (let last = "-"; ; ) {
      const entries = await this.#connection.do((redis) =>
        redis.xrangeBuffer(this.#key("log"), last, "+", "COUNT", LOG_ENTRIES_PER_READ),
      );
      for (const [, [kind, value]] of entries) {
        const message = kind?.toString().startsWith("p:") && value !== undefined ? readMessage(value) : undefined;
        if (message !== undefined) yield message;
      }
      const newest = entries.at(-1)?.[0];
      if (newest === undefined) return;
      last = `(${newest}`;
    }
  }

  async *#queue(session: string): AsyncGenerator<QueuedCopy[]> {
    const [queue, packets] = [this.#key(`queue:${session}`), this.#key(`packets:${session}`)];
    const [count, bytes] = await Promise.all([
      this.#connection.do((redis) => redis.zcard(queue)),
      this.#connection.do((redis) => redis.hget(packets, "bytes")),
    ]);
    const fitting = Math.floor((BYTES_PER_READ * count) / Math.max(1, Number(bytes ?? 0)));
    const limit = Math.max(1, Math.min(MESSAGES_PER_READ, fitting));
    for (let from = "-inf"; ; ) {
      const numbers = await this.#connection.do((redis) => redis.zrangebyscore(queue, from, "+inf", "LIMIT", 0, limit));
      const newest = numbers.at(-1);
      if (newest === undefined) return;
      from = `(${newest}`;
      const values = await this.#connection.do((redis) =>
        redis.hmgetBuffer(packets, ...numbers.flatMap((number) => [number, `id${number}`])),
      );
      const copies: QueuedCopy[] = [];
      for (const [index, number] of numbers.entries()) {
        const [row, id] = [values[2 * index], values[2 * index + 1]];
        const message = row == null ? undefined : readMessage(row);
        if (message === undefined) {
          this.damage.rows.push(`a queued message of ${describeSession(session)}`);
          continue;
        }
        // A PUBREL has its message id in the row.
        if (id != null) message.messageId = Number(id);
        copies.push({ session, order: number.padStart(ORDER_DIGITS, "0"), message });
      }
      yield copies;
    }
  }

  /** The fields of a hash. A field that comes twice is harmless: rows are written by name. */
  async *#fields(name: string): AsyncGenerator<[string, Buffer][]> {
    let cursor = "0";
    do {
      const [next, fields] = await this.#connection.do((redis) =>
        redis.hscanBuffer(this.#key(name), cursor, "COUNT", FIELDS_PER_READ),
      );
      cursor = next.toString();
      const page: [string, Buffer][] = [];
      for (let at = 0; at + 1 < fields.length; at += 2)
        page.push([fields[at]?.toString() ?? "", fields[at + 1] ?? Buffer.alloc(0)]);
      if (page.length > 0) yield page;
    } while (cursor !== "0");
  }
}
