// Takes over what versions before the log kept in a store of their own. The steps, in `TakeOver.run`:
//
// 1. Retained messages, message ids of incoming QoS 2 publications, and wills become rows.
// 2. The queues of all sessions are merged. Each message is appended to the log once, in order, and each session holds
//    the messages of its queue as open ones: those that were sent with their message ids, the others as not sent.
// 3. Publications that the earlier version had accepted, but not put into queues, are appended behind them, and reach
//    the sessions like any publication. Commands become open commands of the relay.
// 4. One write removes these publications from where they were, and stores the mark that all is done.
//
// The old store is only read. Until the mark is stored, no row of an attempt is used, and the next attempt writes all
// rows again; publications of a broken attempt stay in the log below the place of every session.

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { rename } from "node:fs/promises";
import type { Logger } from "pino";
import { messageOf } from "../../../platform/errors.ts";
import { jsonOf } from "../../../platform/json.ts";
import type { OnDamage } from "../../../platform/level/damage.ts";
import { StoreUnusableError } from "../../../platform/level/errors.ts";
import type {
  AppendedPublication,
  EarlierRows,
  IncomingId,
  LoggedPublication,
  MqttLog,
} from "../../../platform/publication-log.ts";
import { describeSession } from "../../access/session-names.ts";
import { SESSION_ROW, type StoredSession } from "../log-sessions.ts";
import { WILL_ROW, type WillRow } from "../log-wills.ts";
import { NOT_SENT_ID } from "../session-cursor.ts";
import {
  type EarlierDamage,
  type EarlierSession,
  type EarlierSource,
  openEarlierStore,
  type QueuedCopy,
} from "./earlier-store.ts";

const MARK_ROW = "taken-over";
/** Messages that share a write. */
const BATCH = 256;
const BATCH_BYTES = 1024 * 1024;
/** Rows of sessions that share a write: the row of a session with a long queue is large. */
const SESSIONS_PER_WRITE = 32;
const MAX_NAMED_ROWS = 10;
/** In the log, the place of a message of which only the PUBREL is left. No filter of a client matches this topic. */
const RELEASED_TOPIC = "$released";

interface TakeOverLog {
  publications: Pick<MqttLog["publications"], "head" | "epoch">;
  append: MqttLog["append"];
  rows: Pick<MqttLog["rows"], "set" | "flush">;
}

interface TakeOverOptions {
  /** The folder of the earlier version's store. It need not exist. */
  path: string;
  log: MqttLog;
  /** Whether the topic is that of a command, which the relay sends in its own name. */
  isCommand(topic: string): boolean;
  onDamage?: OnDamage | undefined;
  logger: Logger;
}

/**
 * Takes over the sessions, messages and wills of an earlier version, once, and renames the folder of their store. Call
 * this before the broker and the journal's readers start.
 * @throws {StoreUnusableError} nothing is lost; the message says what to do
 */
export async function takeOverEarlierSessions(options: TakeOverOptions): Promise<void> {
  const { path, log, logger } = options;
  const { earlier } = log;
  if (earlier === undefined) return;
  const isThere = existsSync(path);
  try {
    const mark = await readMark(log);
    if (mark !== undefined && !isThere) return;
    const store = isThere ? await openEarlierStore(path) : undefined;
    try {
      const boot = (await store?.boot()) ?? 0;
      // Another number: after the take-over, the earlier version has run again.
      if (mark !== boot) await new TakeOver(options, earlier, store).run(boot);
    } finally {
      await store?.close();
    }
  } catch (error) {
    if (error instanceof StoreUnusableError) throw error;
    const what = `MQTT sessions and messages of the earlier version cannot be taken over: ${messageOf(error)}`;
    throw new StoreUnusableError(`${what}. Nothing is lost: start again when this is mended`, { cause: error });
  }
  if (isThere) await setAside(path, logger);
}

/** The folder is kept so that an operator can go back to the earlier version. */
async function setAside(path: string, logger: Logger): Promise<void> {
  let target = `${path}-before-one-log`;
  for (let number = 2; existsSync(target); number++) target = `${path}-before-one-log-${number}`;
  try {
    await rename(path, target);
  } catch (error) {
    logger.warn({ why: messageOf(error), path }, "folder of the earlier version's MQTT sessions not renamed, not used");
  }
}

/** @returns the `boot` of the store that was taken over last */
async function readMark({ rows }: MqttLog): Promise<number | undefined> {
  for await (const [, row] of rows.load(MARK_ROW)) return Number(row);
  return undefined;
}

type OpenPublication = StoredSession["open"][number];

export class TakeOver {
  readonly #options: Omit<TakeOverOptions, "log"> & { log: TakeOverLog };
  readonly #earlier: EarlierRows;
  readonly #store: EarlierSource | undefined;
  readonly #startedAt = performance.now();
  /** By session. */
  readonly #open = new Map<string, OpenPublication[]>();
  readonly #counts = { sessions: 0, queued: 0, undelivered: 0, commands: 0, retained: 0, wills: 0, incomingIds: 0 };

  constructor(
    options: Omit<TakeOverOptions, "log"> & { log: TakeOverLog },
    earlier: EarlierRows,
    store: EarlierSource | undefined,
  ) {
    this.#options = options;
    this.#earlier = earlier;
    this.#store = store;
  }

  async run(boot: number): Promise<void> {
    const { rows } = this.#options.log;
    const store = this.#store;
    const accepted = await this.#namesOfUndelivered();
    if (store !== undefined) {
      const sessions = await store.sessions();
      await this.#putRetained(store);
      await this.#putIncomingIds(store, sessions);
      await this.#putWills(store);
      await this.#appendQueued(store, sessions, accepted);
      await this.#putSessions(sessions);
      await rows.flush();
    }
    await this.#appendUndelivered(accepted);
    await this.#earlier.end(MARK_ROW, String(boot));
    this.#report();
  }

  async #putRetained(store: EarlierSource): Promise<void> {
    let batch: Omit<LoggedPublication, "position">[] = [];
    let bytes = 0;
    const write = async () => {
      await this.#earlier.put({ retained: batch });
      batch = [];
      bytes = 0;
    };
    for await (const { topic, payload, qos } of store.retained()) {
      batch.push({ topic, payload, qos, retain: true });
      bytes += payload.length;
      this.#counts.retained++;
      if (batch.length >= BATCH || bytes >= BATCH_BYTES) await write();
    }
    if (batch.length > 0) await write();
  }

  /** Ids of clean sessions are left out: they ended with the earlier run. */
  async #putIncomingIds(store: EarlierSource, sessions: ReadonlyMap<string, unknown>): Promise<void> {
    const incomingIds: IncomingId[] = [];
    for await (const id of store.incomingIds()) if (sessions.has(id.session)) incomingIds.push(id);
    this.#counts.incomingIds = incomingIds.length;
    if (incomingIds.length > 0) await this.#earlier.put({ incomingIds });
  }

  async #putWills(store: EarlierSource): Promise<void> {
    for await (const will of store.wills()) {
      const row: WillRow = { ...will, payload: will.payload.toString("base64") };
      this.#options.log.rows.set(WILL_ROW + will.clientId, JSON.stringify(row));
      this.#counts.wills++;
    }
  }

  async #appendQueued(
    store: EarlierSource,
    sessions: ReadonlyMap<string, unknown>,
    accepted: Map<string, "waits" | "queued">,
  ): Promise<void> {
    let batch: { publication: AppendedPublication; copies: QueuedCopy[] }[] = [];
    let bytes = 0;
    const append = async () => {
      const positions = await Promise.all(batch.map(({ publication }) => this.#options.log.append(publication)));
      for (const [index, { copies }] of batch.entries())
        for (const copy of copies) this.#hold(copy, positions[index] ?? 0);
      batch = [];
      bytes = 0;
    };
    for await (const copies of store.queued(sessions)) {
      const publication = publicationOf(copies);
      const name = accepted.size === 0 ? undefined : nameOf(publication);
      if (name !== undefined && accepted.has(name)) accepted.set(name, "queued");
      batch.push({ publication, copies });
      bytes += publication.payload.length;
      this.#counts.queued++;
      if (batch.length >= BATCH || bytes >= BATCH_BYTES) await append();
    }
    if (batch.length > 0) await append();
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
    const { rows, publications } = this.#options.log;
    const { head, epoch } = publications;
    for (const [key, { owner, seenAt, filters }] of sessions) {
      const record: StoredSession = {
        ...{ v: 1, ...owner, seenAt, epoch, sent: head },
        open: this.#open.get(key) ?? [],
        filters: [...filters].map(([filter, qos]) => [filter, qos, head]),
      };
      rows.set(SESSION_ROW + key, JSON.stringify(record));
      if (++this.#counts.sessions % SESSIONS_PER_WRITE === 0) await rows.flush();
    }
  }

  /**
   * The names of undelivered publications. The earlier version noted deliveries late, so some of these publications may
   * be in the queues already, and must not reach the sessions a second time.
   */
  async #namesOfUndelivered(): Promise<Map<string, "waits" | "queued">> {
    const names = new Map<string, "waits" | "queued">();
    for await (const publication of this.#earlier.undelivered()) {
      const name = nameOf(publication);
      if (name !== undefined) names.set(name, "waits");
    }
    return names;
  }

  async #appendUndelivered(accepted: ReadonlyMap<string, "waits" | "queued">): Promise<void> {
    const { log, isCommand } = this.#options;
    let batch: AppendedPublication[] = [];
    const append = async () => {
      await Promise.all(batch.map((publication) => log.append(publication)));
      batch = [];
    };
    const open: LoggedPublication[] = [];
    for await (const publication of this.#earlier.undelivered()) {
      const { topic, payload, qos, retain } = publication;
      if (isCommand(topic)) {
        open.push(publication);
        continue;
      }
      if (accepted.get(nameOf(publication) ?? "") === "queued") continue;
      batch.push({ topic, payload, qos, retain });
      this.#counts.undelivered++;
      if (batch.length >= BATCH) await append();
    }
    if (batch.length > 0) await append();
    this.#counts.commands = open.length;
    if (open.length > 0) await this.#earlier.put({ open });
  }

  #report(): void {
    const { path, logger } = this.#options;
    if (this.#store !== undefined) this.#reportDamage(this.#store.damage);
    if (this.#store === undefined && Object.values(this.#counts).every((count) => count === 0)) return;
    const tookMs = Math.round(performance.now() - this.#startedAt);
    logger.info({ ...this.#counts, path, tookMs }, "took over the MQTT sessions of an earlier version");
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

/** The name of a publication that ingest has accepted only once: one with an id. */
function nameOf({ topic, payload }: Pick<AppendedPublication, "topic" | "payload">): string | undefined {
  const content = jsonOf(Buffer.from(payload).toString());
  if (content === null || typeof content !== "object" || !("id" in content) || typeof content.id !== "string")
    return undefined;
  return createHash("sha256").update(`${topic}\n`).update(payload).digest("base64");
}
