import type { Cluster, Redis } from "ioredis";
import { z } from "zod";
import { jsonOf } from "../../../platform/json.ts";
import type { IncomingId } from "../../../platform/publication-log.ts";
import { describeSession } from "../../access/session-names.ts";
import { sessionOwnerSchema } from "../../access/session-owner.ts";
import { storedWillSchema } from "../storage.ts";
import type { EarlierDamage, EarlierSession, EarlierSource, EarlierWill, QueuedCopy } from "./earlier-store.ts";
import { merged } from "./merged.ts";
import { decodeMessage, type QueuedMessage } from "./queued-message.ts";

/** Messages of a queue, or fields of a hash, that are read at once. */
const PAGE = 128;
/** Numbers of messages have 16 digits. Texts of one length sort as numbers do. */
const ORDER_DIGITS = 20;

const filtersSchema = z.array(z.tuple([z.string(), z.union([z.literal(0), z.literal(1), z.literal(2)])]));
const willSchema = storedWillSchema.extend({ payload: z.base64() });

/**
 * Reads what versions before the log kept in Redis, under `{prefix}mqtt:`: owners, filters and queues of sessions,
 * retained messages, wills, and incoming message ids.
 */
export class EarlierRedisStore implements EarlierSource {
  readonly #redis: Redis | Cluster;
  readonly #prefix: string;
  readonly damage: EarlierDamage = { loss: undefined, rows: [], sessions: [] };

  /** @param prefix of all keys, such as `{skylapse}:mqtt:` */
  constructor(redis: Redis | Cluster, prefix: string) {
    this.#redis = redis;
    this.#prefix = prefix;
  }

  async sessions(): Promise<Map<string, EarlierSession>> {
    const sessions = new Map<string, EarlierSession>();
    const seen = await this.#redis.zrange(`${this.#prefix}seen`, "0", "-1", "WITHSCORES");
    const seenAt = new Map<string, number>();
    for (let at = 0; at + 1 < seen.length; at += 2) seenAt.set(seen[at] ?? "", Number(seen[at + 1]));
    for await (const [key, row] of this.#fields("owners")) {
      const owner = sessionOwnerSchema.safeParse(jsonOf(row.toString()));
      if (owner.success)
        sessions.set(key, { owner: owner.data, seenAt: seenAt.get(key) ?? Date.now(), filters: new Map() });
      else this.damage.sessions.push(key);
    }
    for await (const [key, row] of this.#fields("filters")) {
      const filters = filtersSchema.safeParse(jsonOf(row.toString()));
      const session = sessions.get(key);
      if (session === undefined) continue;
      if (filters.success) session.filters = new Map(filters.data);
      else this.damage.rows.push(`the filters of ${describeSession(key)}`);
    }
    return sessions;
  }

  async *retained(): AsyncGenerator<QueuedMessage> {
    for await (const [topic, row] of this.#fields("retained")) {
      const message = readMessage(row);
      if (message === undefined) this.damage.rows.push(`the retained message of ${topic}`);
      else yield { ...message, topic };
    }
  }

  async *wills(): AsyncGenerator<EarlierWill> {
    for await (const [key, row] of this.#fields("wills")) {
      const read = willSchema.safeParse(jsonOf(row.toString()));
      if (read.success) yield { ...read.data, payload: Buffer.from(read.data.payload, "base64") };
      else this.damage.rows.push(`the will of ${describeSession(key)}`);
    }
  }

  async *incomingIds(): AsyncGenerator<IncomingId> {
    for await (const [key] of this.#fields("owners")) {
      for (const messageId of await this.#redis.smembers(`${this.#prefix}incoming:${key}`))
        yield { session: key, messageId: Number(messageId) };
    }
  }

  async *queued(sessions: ReadonlyMap<string, unknown>): AsyncGenerator<QueuedCopy[]> {
    yield* merged([...sessions.keys()].map((session) => this.#queue(session)));
  }

  async *#queue(session: string): AsyncGenerator<QueuedCopy[]> {
    for (let from = 0; ; from += PAGE) {
      const numbers = await this.#redis.zrange(
        `${this.#prefix}queue:${session}`,
        String(from),
        String(from + PAGE - 1),
      );
      if (numbers.length === 0) return;
      const fields = numbers.flatMap((number) => [number, `id${number}`]);
      const values = await this.#redis.hmgetBuffer(`${this.#prefix}packets:${session}`, ...fields);
      const copies: QueuedCopy[] = [];
      for (const [index, number] of numbers.entries()) {
        const message = readMessage(values[2 * index]);
        if (message === undefined) {
          this.damage.rows.push(`a queued message of ${describeSession(session)}`);
          continue;
        }
        const messageId = message.messageId ?? (Number(values[2 * index + 1]?.toString() ?? 0) || undefined);
        copies.push({ session, order: number.padStart(ORDER_DIGITS, "0"), message: { ...message, messageId } });
      }
      yield copies;
    }
  }

  async *#fields(name: string): AsyncGenerator<[string, Buffer]> {
    const known = new Set<string>();
    let cursor = "0";
    do {
      const from: string = cursor;
      const [next, fields] = await this.#redis.hscanBuffer(this.#prefix + name, from, "COUNT", PAGE);
      for (let at = 0; at + 1 < fields.length; at += 2) {
        const [field = "", value] = [fields[at]?.toString(), fields[at + 1]];
        // HSCAN may return a field twice.
        if (value === undefined || known.has(field)) continue;
        known.add(field);
        yield [field, value];
      }
      cursor = next.toString();
    } while (cursor !== "0");
  }
}

function readMessage(row: Buffer | null | undefined): QueuedMessage | undefined {
  if (row === null || row === undefined) return undefined;
  try {
    return decodeMessage(row);
  } catch {
    return undefined;
  }
}
