import type { Brokers } from "aedes";
import type { Logger } from "pino";
import type { BrokerRows } from "../../platform/publication-log.ts";
import { sessionName } from "../access/session-names.ts";
import { bearerOf } from "../access/session-owner.ts";
import type { Wills } from "../access/wills.ts";
import { DueWills } from "./due-wills.ts";
import type { PublishWill, Session } from "./storage.ts";
import { WILL_ROW, type WillRow, willOf, willRow, willRowSchema } from "./will-row.ts";

/** A will that could not be published is published again after this time. */
const RETRY_MS = 10_000;

interface LogWillsOptions {
  rows: BrokerRows;
  wills: Wills;
  brokerId: string;
  /** The client's will is stored no longer. */
  onGone(client: string): void;
  /** The session's expiry interval, seconds; 0 when there is no session. */
  sessionExpiry(client: string): number;
  /** Wills of clients whose node has ended wait at least this long: the clients may connect again. */
  orphanWaitMs: number;
  /** Milliseconds since 1970. */
  now: () => number;
  logger: Logger;
}

/**
 * The wills of the connected clients, those that wait for their delay, and those that earlier runs have not published, in
 * the journal's store. Aedes publishes the wills of its clients, and those of earlier runs without a delay.
 */
export class LogWills {
  readonly #options: LogWillsOptions;
  /** By session key. */
  readonly #rows = new Map<string, WillRow>();
  /** The will objects of connections, by session key. */
  readonly #connected = new Map<string, object>();
  /** Wills of connections whose session has ended. */
  readonly #ended = new WeakSet<object>();
  readonly #due: DueWills;
  #publish: PublishWill | undefined;
  #isStopped = false;

  constructor(options: LogWillsOptions) {
    this.#options = options;
    this.#due = new DueWills(options.now, (client) => this.#publishDue(client));
  }

  async load(): Promise<void> {
    for await (const [key, row] of this.#options.rows.load(WILL_ROW)) this.adopt(key.slice(WILL_ROW.length), row);
  }

  /** From now on, wills that are due are published. */
  start(publish: PublishWill): void {
    this.#publish = publish;
    this.#due.start();
  }

  /** The server stops: its clients are alive, so no will is published, and no delay begins. */
  stop(): void {
    this.#isStopped = true;
    this.#due.stop();
  }

  /** Takes over a will whose broker has ended. */
  adopt(client: string, text: string): void {
    const row = this.#read(client, text);
    if (row === undefined) return;
    this.#rows.set(client, row);
    if (row.delay !== undefined) this.#delay(row, this.#options.orphanWaitMs);
  }

  #read(client: string, text: string): WillRow | undefined {
    const read = willRowSchema.safeParse(jsonOf(text));
    if (!read.success) this.#options.logger.error(sessionName(client), "a stored will is unreadable");
    return read.data;
  }

  has(client: string): boolean {
    return this.#rows.has(client);
  }

  /** Another node has the client, and its will. */
  forget(client: string): void {
    this.#rows.delete(client);
    this.#connected.delete(client);
    this.#due.delete(client);
  }

  /** Stores the will with its owner, because the next run of the broker may publish the will. */
  async put(client: Session, will: object): Promise<void> {
    const { wills, brokerId, rows } = this.#options;
    const bearer = wills.ownerOf(will)?.bearer;
    const row = willRow(client, brokerId, will);
    wills.stored(client.id);
    if (bearer === undefined) return;
    this.#due.delete(client.id);
    this.#connected.set(client.id, will);
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

  /** See {@link BrokerStorage.postponeWill}. */
  postpone({ id }: Session, will: object): boolean {
    const { wills, sessionExpiry } = this.#options;
    const row = this.#rows.get(id);
    const isReplaced = this.#connected.get(id) !== will;
    if (this.#isStopped || this.#ended.has(will) || delayOf(will) === 0) return false;
    if (!isReplaced && (row === undefined || sessionExpiry(id) === 0)) return false;
    wills.released(id);
    if (!isReplaced && row !== undefined) this.#delay(row, 0);
    return true;
  }

  /** The connection has ended: the delay begins now, unless an earlier run has begun it. */
  #delay(row: WillRow, leastMs: number): void {
    const { now, sessionExpiry } = this.#options;
    const client = row.clientId;
    const delayMs = Math.min(row.delay ?? 0, sessionExpiry(client)) * 1_000;
    const dueAt = row.dueAt ?? now() + Math.max(delayMs, leastMs);
    this.#connected.delete(client);
    if (row.dueAt === undefined) this.#set(client, { ...row, dueAt });
    this.#due.set(client, dueAt);
  }

  /** The client's session has ended: a will that waits for its delay is published now [MQTT-3.1.3-9]. */
  sessionEnded(client: string): void {
    const will = this.#connected.get(client);
    if (will !== undefined) this.#ended.add(will);
    if (!this.#due.has(client)) return;
    this.#due.delete(client);
    this.#publishDue(client);
  }

  /** The client has discarded its session, whose will another node kept for its delay. @param text the will's row */
  takenEnded(client: string, text: string): void {
    const row = this.#read(client, text);
    if (row?.dueAt === undefined) return;
    this.#rows.set(client, row);
    this.#publishDue(client);
  }

  #publishDue(client: string): void {
    const { wills, now } = this.#options;
    const row = this.#rows.get(client);
    const publish = this.#publish;
    if (row === undefined || publish === undefined) return;
    const { will, owner } = willOf(row, now());
    if (wills.isVoid(owner)) {
      this.#set(client, undefined);
      return;
    }
    wills.assign(will, owner);
    void publish(will).then(() => {
      const isKept = wills.consumeKept(client);
      // The client has connected again meanwhile.
      if (this.#rows.get(client) !== row) return;
      if (isKept) this.#due.set(client, now() + RETRY_MS);
      else this.#set(client, undefined);
    });
  }

  /** The wills without a delay that an earlier run has not published. */
  async *orphans(brokers: Brokers): AsyncGenerator<object> {
    const { wills, brokerId, now } = this.#options;
    wills.expirePublishing();
    for (const row of [...this.#rows.values()]) {
      const { brokerId: run, clientId } = row;
      if (run === brokerId || brokers[run] !== undefined || row.delay !== undefined || wills.isPublishing(clientId))
        continue;
      const { will, owner } = willOf(row, now());
      if (wills.isVoid(owner)) {
        this.#set(clientId, undefined);
        continue;
      }
      wills.assign(will, owner);
      wills.beginPublishing(clientId);
      yield will;
    }
  }

  #set(key: string, row: WillRow | undefined): void {
    if (row === undefined) this.forget(key);
    else this.#rows.set(key, row);
    this.#options.rows.set(WILL_ROW + key, row === undefined ? undefined : JSON.stringify(row));
    if (row === undefined) this.#options.onGone(key);
  }
}

function delayOf(will: object): number {
  return "delay" in will && typeof will.delay === "number" ? will.delay : 0;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
