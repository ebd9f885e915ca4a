// Takes over what versions before the log kept in a store of their own. The steps, in `TakeOver.run`:
//
// 1. Retained messages and message ids of incoming QoS 2 publications become rows.
// 2. The queues of all sessions are merged. Each message is appended to the log once, in order, and each session holds
//    the messages of its queue as open ones: those that were sent with their message ids, the others as not sent. Then
//    the wills become rows.
// 3. Publications that the earlier version had accepted, but not put into queues, are appended behind them, and reach
//    the sessions like any publication. Commands become open commands of the relay.
// 4. One write removes these publications from where they were, and stores the mark that all is done.
//
// The old store is only read, and of several nodes only one takes over: see `EarlierRows.alone`. Until the mark is stored,
// no row of an attempt is used, and the next attempt writes all rows again; publications of a broken attempt stay in the
// log below the place of every session.

import { createHash } from "node:crypto";
import type { Logger } from "pino";
import { messageOf } from "../../../platform/errors.ts";
import { jsonOf } from "../../../platform/json.ts";
import type { OnDamage } from "../../../platform/level/damage.ts";
import { StoreUnusableError } from "../../../platform/level/errors.ts";
import type {
  AppendedPublication,
  EarlierRows,
  LoggedPublication,
  MqttLog,
} from "../../../platform/publication-log.ts";
import type { RedisConnections } from "../../../platform/redis/connections.ts";
import { describeSession } from "../../access/session-names.ts";
import { NOT_SENT_ID } from "../session-flights.ts";
import type { StoredSession } from "../session-record.ts";
import { earlierFolder } from "./earlier-level.ts";
import { earlierRedis } from "./earlier-redis.ts";
import type { EarlierDamage, EarlierPlace, EarlierSession, EarlierStore, QueuedCopy } from "./earlier-store.ts";

/** Messages that share a write. */
const BATCH = 256;
const BATCH_BYTES = 1024 * 1024;
/** The row of a session with a long queue is large. */
const SESSIONS_PER_WRITE = 32;
const MAX_NAMED_ROWS = 10;
/** In the log, the place of a message of which only the PUBREL is left. No filter of a client matches this topic. */
const RELEASED_TOPIC = "$released";

interface TakeOverOptions {
  /** The folder of the earlier version's store. It need not exist. */
  path: string;
  /** The Redis in which the nodes of the earlier version had their store, instead of the folder. Default: none. */
  redis?: RedisConnections | undefined;
  log: MqttLog;
  /** Whether the topic is that of a command, which the relay sends in its own name. */
  isCommand(topic: string): boolean;
  onDamage?: OnDamage | undefined;
  logger: Logger;
}

/**
 * Takes over the sessions, messages and wills of an earlier version, once, and sets their store aside. Call this before
 * the broker and the journal's readers start.
 * @throws {StoreUnusableError} nothing is lost; the message says what to do
 */
export async function takeOverEarlierSessions(options: TakeOverOptions): Promise<void> {
  const { path, redis, log, logger } = options;
  const { earlier } = log;
  if (earlier === undefined) return;
  try {
    const place = redis === undefined ? earlierFolder(path, logger) : earlierRedis(redis, logger);
    await earlier.alone(() => takeOver(options, earlier, place));
  } catch (error) {
    if (error instanceof StoreUnusableError) throw error;
    const what = `MQTT sessions and messages of the earlier version cannot be taken over: ${messageOf(error)}`;
    throw new StoreUnusableError(`${what}. Nothing is lost: start again when this is mended`, { cause: error });
  }
}

async function takeOver(options: TakeOverOptions, earlier: EarlierRows, place: EarlierPlace): Promise<void> {
  const mark = await earlier.mark();
  const store = await place.open();
  if (mark !== undefined && store === undefined) return;
  try {
    const boot = String((await store?.boot()) ?? 0);
    // Another number: after the take-over, the earlier version has run again.
    if (mark !== boot) await new TakeOver(options, earlier, store, place.name).run(boot);
  } finally {
    await store?.close();
  }
  if (store !== undefined) await place.setAside();
}

type OpenPublication = StoredSession["open"][number];

/** Undelivered publications by name. `queued`: the earlier version has put it into the queues. */
type Accepted = Map<string, "waits" | "queued">;

class TakeOver {
  readonly #options: TakeOverOptions;
  readonly #earlier: EarlierRows;
  readonly #store: EarlierStore | undefined;
  /** Where the earlier version has its store, for an operator. */
  readonly #place: string;
  readonly #startedAt = performance.now();
  /** By session. */
  readonly #open = new Map<string, OpenPublication[]>();
  /** The position of the newest queued message. */
  #head = 0;
  readonly #counts = { sessions: 0, queued: 0, undelivered: 0, commands: 0, retained: 0, wills: 0, incomingIds: 0 };

  constructor(options: TakeOverOptions, earlier: EarlierRows, store: EarlierStore | undefined, place: string) {
    this.#options = options;
    this.#earlier = earlier;
    this.#store = store;
    this.#place = place;
  }

  async run(boot: string): Promise<void> {
    const store = this.#store;
    const accepted = await this.#namesOfUndelivered();
    if (store !== undefined) {
      const sessions = await store.sessions();
      await this.#putRetained(store);
      await this.#putIncomingIds(store, sessions);
      await this.#appendQueued(store, sessions, accepted);
      await this.#putSessions(sessions);
      await this.#putWills(store);
    }
    await this.#appendUndelivered(accepted);
    // Meanwhile, an older node may have started.
    if (store !== undefined && String(await store.boot()) !== boot)
      throw new StoreUnusableError("a node of the earlier version has just started: stop all nodes, and start again");
    await this.#earlier.end(boot);
    this.#report();
  }

  async #putRetained(store: EarlierStore): Promise<void> {
    for await (const messages of inBatches(store.retained(), ({ payload }) => payload.length)) {
      const retained = messages.map(({ topic, payload, qos }) => ({ topic, payload, qos, retain: true }));
      await this.#earlier.put({ retained });
      this.#counts.retained += retained.length;
    }
  }

  /** Ids of clean sessions are left out: they ended with the earlier run. */
  async #putIncomingIds(store: EarlierStore, sessions: ReadonlyMap<string, unknown>): Promise<void> {
    for await (const incomingIds of inBatches(store.incomingIds(sessions))) {
      await this.#earlier.put({ incomingIds });
      this.#counts.incomingIds += incomingIds.length;
    }
  }

  async #putWills(store: EarlierStore): Promise<void> {
    for await (const wills of inBatches(store.wills(), ({ payload }) => payload.length)) {
      await this.#earlier.put({ wills: wills.map((will) => [will.clientId, JSON.stringify(will)]) });
      this.#counts.wills += wills.length;
    }
  }

  async #appendQueued(store: EarlierStore, sessions: ReadonlyMap<string, unknown>, accepted: Accepted): Promise<void> {
    for await (const batch of inBatches(store.queued(sessions), (copies) => publicationOf(copies).payload.length)) {
      const publications = batch.map(publicationOf);
      for (const publication of publications) noteQueued(accepted, publication);
      const positions = await Promise.all(publications.map((publication) => this.#earlier.append(publication)));
      for (const [index, copies] of batch.entries()) for (const copy of copies) this.#hold(copy, positions[index] ?? 0);
      this.#counts.queued += batch.length;
      this.#head = Math.max(this.#head, ...positions);
    }
  }

  #hold({ session, message: { isPubrel, qos, messageId = NOT_SENT_ID } }: QueuedCopy, position: number): void {
    let open = this.#open.get(session);
    if (open === undefined) {
      open = [];
      this.#open.set(session, open);
    }
    open.push(isPubrel ? [position, 2, 1, messageId] : [position, qos === 2 ? 2 : 1, 0, messageId]);
  }

  async #putSessions(sessions: ReadonlyMap<string, EarlierSession>): Promise<void> {
    const { epoch } = this.#options.log.publications;
    const head = Math.max(this.#head, this.#options.log.publications.head);
    for await (const batch of inBatches(sessions, undefined, SESSIONS_PER_WRITE)) {
      const rows = batch.map(([key, { owner, seenAt, filters }]): [string, string] => {
        const record: StoredSession = {
          ...{ v: 1, ...owner, seenAt, epoch, sent: head },
          open: this.#open.get(key) ?? [],
          filters: [...filters].map(([filter, qos]) => [filter, qos, head]),
        };
        return [key, JSON.stringify(record)];
      });
      await this.#earlier.put({ sessions: rows });
      this.#counts.sessions += rows.length;
    }
  }

  /**
   * The names of undelivered publications. The earlier version noted deliveries late, so some of these publications may
   * have reached the sessions already, and must not reach them a second time.
   */
  async #namesOfUndelivered(): Promise<Accepted> {
    const names: Accepted = new Map();
    for await (const publication of this.#earlier.undelivered()) {
      const name = nameOf(publication);
      if (name !== undefined) names.set(name, "waits");
    }
    if (names.size > 0) for await (const message of this.#store?.published?.() ?? []) noteQueued(names, message);
    return names;
  }

  async #appendUndelivered(accepted: Accepted): Promise<void> {
    const open: LoggedPublication[] = [];
    for await (const batch of inBatches(this.#earlier.undelivered(), ({ payload }) => payload.length)) {
      const publications: AppendedPublication[] = [];
      for (const publication of batch) {
        const { topic, payload, qos, retain } = publication;
        if (this.#options.isCommand(topic)) open.push(publication);
        else if (accepted.get(nameOf(publication) ?? "") !== "queued")
          publications.push({ topic, payload, qos, retain });
      }
      await Promise.all(publications.map((publication) => this.#earlier.append(publication)));
      this.#counts.undelivered += publications.length;
    }
    this.#counts.commands = open.length;
    if (open.length > 0) await this.#earlier.put({ open });
  }

  #report(): void {
    const { logger } = this.#options;
    if (this.#store !== undefined) this.#reportDamage(this.#store.damage);
    if (this.#store === undefined && Object.values(this.#counts).every((count) => count === 0)) return;
    const tookMs = Math.round(performance.now() - this.#startedAt);
    logger.info({ ...this.#counts, place: this.#place, tookMs }, "took over the MQTT sessions of an earlier version");
  }

  #reportDamage({ loss, rows, sessions }: EarlierDamage): void {
    const { logger, onDamage } = this.#options;
    const report = (found: string, missing: string) => {
      logger.error({ found, missing }, "MQTT sessions of an earlier version damaged");
      onDamage?.({ store: "mqtt", found, missing });
    };
    if (loss !== undefined) {
      const what = "sessions, queued or retained messages may be missing";
      report(loss.reason, `${what} (${loss.whose}): their clients must subscribe again`);
    }
    const named = sessions.map(describeSession).join(", ");
    if (sessions.length > 0)
      report(
        "sessions whose records are missing or unreadable",
        `the sessions ${named} are lost: their clients must subscribe again`,
      );
    if (rows.length === 0) return;
    const more = rows.length > MAX_NAMED_ROWS ? ` and ${rows.length - MAX_NAMED_ROWS} more` : "";
    report(`${rows.length} unreadable rows`, `lost: ${rows.slice(0, MAX_NAMED_ROWS).join(", ")}${more}`);
  }
}

function publicationOf(copies: readonly QueuedCopy[]): AppendedPublication {
  let found: AppendedPublication | undefined;
  for (const { message } of copies) {
    const { isPubrel, topic, payload, qos } = message;
    // Each copy has the QoS of its session.
    if (!isPubrel && qos > (found?.qos ?? -1)) found = { topic, payload, qos, retain: false };
  }
  return found ?? { topic: RELEASED_TOPIC, payload: Buffer.alloc(0), qos: 1, retain: false };
}

/** Items that share a write. */
async function* inBatches<Item>(
  items: AsyncIterable<Item> | Iterable<Item>,
  bytesOf: (item: Item) => number = () => 0,
  maxItems = BATCH,
): AsyncGenerator<Item[]> {
  let batch: Item[] = [];
  let bytes = 0;
  for await (const item of items) {
    batch.push(item);
    bytes += bytesOf(item);
    if (batch.length < maxItems && bytes < BATCH_BYTES) continue;
    yield batch;
    batch = [];
    bytes = 0;
  }
  if (batch.length > 0) yield batch;
}

function noteQueued(accepted: Accepted, message: Pick<AppendedPublication, "topic" | "payload">): void {
  if (accepted.size === 0) return;
  const name = nameOf(message);
  if (name !== undefined && accepted.has(name)) accepted.set(name, "queued");
}

/** The name of a publication that ingest has accepted only once: one with an id. */
function nameOf({ topic, payload }: Pick<AppendedPublication, "topic" | "payload">): string | undefined {
  const content = jsonOf(Buffer.from(payload).toString());
  if (content === null || typeof content !== "object" || !("id" in content) || typeof content.id !== "string")
    return undefined;
  return createHash("sha256").update(`${topic}\n`).update(payload).digest("base64");
}
