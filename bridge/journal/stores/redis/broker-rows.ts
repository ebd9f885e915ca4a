import type { Logger } from "pino";
import { StoreUnavailableError } from "../../../../platform/errors.ts";
import type { BrokerRows, BrokerRowsListener, TakenRows } from "../../../../platform/publication-log.ts";
import type { Connection } from "../../../../platform/redis/connection.ts";
import type { Membership } from "../../../../platform/redis/membership.ts";
import type { JournalKeys } from "./keys.ts";
import { type RowChange, readRowChange } from "./row-changes.ts";
import { RowWriter } from "./row-writer.ts";

const FIELDS_PER_READ = 500;
/** Clients of a dead run that are taken over at once. */
const CLIENTS_PER_LOOK = 200;
const SESSION = "session:";
const WILL = "will:";
/** A read after this id of a stream waits, and finds nothing. */
const LAST_ID = "18446744073709551615-0";

interface Writer {
  readonly generation: string;
  /** Empty: the client is connected to no node. */
  readonly run: string;
}

/** A client that connects to this node, until this node has read its own change. */
interface Taking {
  readonly client: string;
  /** The number of the change, once this node has read it. */
  change: number | undefined;
  /** Whether this node had the newest session row in memory at the moment of the change. */
  isNewest: boolean;
  taken: Omit<TakenRows, "isNewest"> | undefined;
  resolve: (rows: TakenRows) => void;
}

interface RedisBrokerRowsOptions {
  writing: Connection;
  reading: Connection;
  keys: JournalKeys;
  run: string;
  epoch: () => string;
  /** The newest position that this node has passed to all followers. */
  head: () => number;
  /** Called when changes are missing, so that everything must be loaded again. */
  onGap: () => void;
  membership: Membership;
  logger: Logger;
}

/**
 * The rows of the broker's clients in Redis. Every node reads all changes of who writes them, in one order: the order of
 * `mqtt-changes`, and each change after the publications that were in the log before it.
 */
export class RedisBrokerRows implements BrokerRows {
  readonly #options: RedisBrokerRowsOptions;
  readonly #writer: RowWriter;
  #writers = new Map<string, Writer>();
  /** As before the last {@link reset}. */
  #writersBefore: ReadonlyMap<string, Writer> = new Map();
  /** Takes without a result, by token. */
  readonly #taking = new Map<string, Taking>();
  /** Clients that this run took without knowing their rows, because the reply was lost: each with the change. */
  readonly #unknown = new Map<string, number>();
  /** Loaded wills of this run's clients, for the listener. */
  readonly #wills = new Map<string, string>();
  /** Undefined while the rows are loaded: changes wait. */
  #listener: BrokerRowsListener | undefined;
  /** Loads that wait until this node has followed the log up to the head. */
  readonly #followers = new Set<{ head: number; resolve: () => void }>();
  /** Changes that were read, and wait for the log or for {@link load}. */
  #waiting: RowChange[] = [];
  /** The number of the newest change that was read. Undefined after {@link reset}, until {@link load} is called. */
  #read: number | undefined;
  /** The number of the newest change that was applied. */
  applied = 0;
  #tokens = 0;
  /** The Redis master that has everything that this node knows, and whether Redis knows that. */
  #settled = { master: "", isKnown: true };
  /** Until {@link settle} is called, Redis may lack what this node knew before the last {@link reset}. */
  #isReset = false;
  #unlisten: (() => void)[] = [];
  #looking: Promise<void> | undefined;
  /** Whether this node was the first one at the last look. */
  #isFirst = false;
  /** Grows whenever this node was taken for dead. */
  #term = 0;

  constructor(options: RedisBrokerRowsOptions) {
    this.#options = options;
    const { writing: connection, keys, run, membership, epoch, logger } = options;
    this.#writer = new RowWriter({
      ...{ connection, keys, run, members: membership.key, epoch, logger },
      writerOf: (client) => {
        const known = this.#writers.get(client);
        return known && { generation: known.generation, isThis: known.run === run };
      },
      onRefused: (client) => this.#lost(client),
      onGone: (client, generation) => {
        this.#unknown.delete(client);
        if (this.#writers.get(client)?.generation === generation) this.#writers.delete(client);
      },
    });
  }

  /** Begins to read changes. Call this before the log is read. @throws {StoreUnavailableError} */
  async start(): Promise<void> {
    this.#read = await this.#newestChange();
    await this.#writer.register();
    this.settle();
    const { membership } = this.#options;
    this.#unlisten = [
      membership.onRejoin(() => {
        this.#isFirst = false;
        this.#term++;
      }),
      membership.onBeat(() => void this.#look()),
    ];
    await this.#look();
  }

  async *load(prefix: string): AsyncGenerator<readonly [key: string, value: string]> {
    if (prefix !== SESSION) return;
    const { reading, keys, run } = this.#options;
    const newest = await this.#newestChange();
    // From now on, changes are read and wait.
    this.#read ??= newest;
    const writers = new Map<string, Writer>();
    for await (const [client, value] of this.#fields(keys.rowWriters)) {
      const [generation = "", other = ""] = value.split(" ");
      writers.set(client, { generation, run: other === "-" ? "" : other });
    }
    const rows: [string, string][] = [];
    const wills = new Map<string, string>();
    for await (const [key, row] of this.#fields(keys.rows)) {
      if (key.startsWith(SESSION)) rows.push([key, row]);
      else if (key.startsWith(WILL)) wills.set(key.slice(WILL.length), row);
    }
    const [head] = await reading.do((redis) => redis.hmget(keys.meta, "head"));
    await this.#followed(Number(head));
    this.#writers.clear();
    for (const [client, writer] of writers) {
      this.#writers.set(client, writer);
      if (writer.run !== run) continue;
      const will = wills.get(client);
      if (will !== undefined) this.#wills.set(client, will);
      // From before this node has missed something: its clients were disconnected.
      else this.#writer.release(client);
    }
    this.applied = newest;
    yield* rows;
  }

  set(key: string, value: string | undefined): void {
    this.#writer.set(key, value);
  }

  beforeWrite(collect: () => void): () => void {
    return this.#writer.beforeWrite(collect);
  }

  flush(): Promise<void> {
    return this.#writer.flush();
  }

  async take(client: string): Promise<TakenRows> {
    const token = String(++this.#tokens);
    const taking: Taking = { client, change: undefined, isNewest: false, taken: undefined, resolve: () => {} };
    const applied = new Promise<TakenRows>((resolve) => {
      taking.resolve = resolve;
    });
    this.#taking.set(token, taking);
    try {
      const { session, incomingIds, will } = await this.#writer.take(client, token);
      taking.taken = {
        ...{ session: session === "" ? undefined : session, incomingIds },
        will: will === "" ? undefined : will,
      };
    } catch (error) {
      this.#taking.delete(token);
      if (taking.change !== undefined) this.#refuse(client, taking.change);
      throw error;
    }
    this.#settle(token, taking);
    return await applied;
  }

  release(client: string): void {
    if (this.writerOf(client) === "this") this.#writer.release(client);
  }

  writerOf(client: string): "this" | "other" | "nobody" {
    const run = this.#writers.get(client)?.run ?? "";
    return run === "" ? "nobody" : run === this.#options.run ? "this" : "other";
  }

  isUnchanged(client: string): boolean {
    const now = this.#writers.get(client);
    return now?.run === this.#options.run && now.generation === this.#writersBefore.get(client)?.generation;
  }

  get isFirstNode(): boolean {
    return this.#isFirst && performance.now() < this.#options.membership.aliveUntil;
  }

  settle(): void {
    this.#isReset = false;
    this.continuesAt(this.#writer.master);
  }

  /** The master has everything that this node knew, unless this node has to write it first: see {@link settle}. */
  continuesAt(master: string): void {
    if (this.#isReset || master === "" || (this.#settled.isKnown && this.#settled.master === master)) return;
    this.#settled = { master, isKnown: false };
    void this.#arrive();
  }

  async #arrive(): Promise<void> {
    const settled = this.#settled;
    if (settled.isKnown || settled.master !== this.#writer.master) return;
    try {
      settled.isKnown = await this.#writer.arrive(settled.master);
    } catch (error) {
      // The next heartbeat tries again.
      if (!(error instanceof StoreUnavailableError)) throw error;
    }
  }

  /** The newest change up to which this node knows what its sessions need: those that it takes come with {@link take}. */
  get known(): number {
    let { applied } = this;
    for (const { change = Infinity } of this.#taking.values()) applied = Math.min(applied, change - 1);
    for (const change of this.#unknown.values()) applied = Math.min(applied, change - 1);
    return applied;
  }

  removeSession(client: string): Promise<boolean> {
    return this.#writer.remove(client);
  }

  follow(listener: BrokerRowsListener): () => void {
    this.#listener = listener;
    for (const [client, will] of this.#wills) listener.onWill(client, will);
    this.#wills.clear();
    this.advance();
    return () => {
      if (this.#listener === listener) this.#listener = undefined;
    };
  }

  // Reading

  /** The stream of changes, and the id after which it must be read. */
  get stream(): { key: string; after: string } {
    return { key: this.#options.keys.rowChanges, after: this.#read === undefined ? LAST_ID : `${this.#read}-0` };
  }

  /** Takes entries of {@link stream}. */
  arrived(entries: readonly (readonly [id: Buffer, fields: readonly Buffer[]])[]): void {
    for (const [id, fields] of entries) {
      const change = readRowChange(id, fields);
      if (this.#read === undefined) return;
      if (change.number <= this.#read) continue;
      const isContinuous = change.previous === this.#read;
      this.#read = change.number;
      if (!isContinuous) {
        this.#options.onGap();
        return;
      }
      this.#waiting.push(change);
    }
    this.advance();
  }

  /** Applies changes for which the log has been followed far enough. Call this when the log has been followed. */
  advance(): void {
    const head = this.#options.head();
    for (const waiting of [...this.#followers]) {
      if (waiting.head > head) continue;
      this.#followers.delete(waiting);
      waiting.resolve();
    }
    let count = 0;
    for (const change of this.#waiting) {
      if (change.head > head || this.#listener === undefined) break;
      count++;
      if (change.number <= this.applied) continue;
      this.applied = change.number;
      this.#apply(change, this.#listener);
    }
    if (count > 0) this.#waiting.splice(0, count);
  }

  /** Forgets everything until {@link load} is called. */
  reset(): void {
    this.#listener = undefined;
    this.#read = undefined;
    this.#waiting = [];
    this.#settled = { master: "", isKnown: true };
    this.#isReset = true;
    // After a second reset in a row, what was known before the first one counts.
    if (this.#writers.size > 0) this.#writersBefore = this.#writers;
    this.#writers = new Map();
    this.#unknown.clear();
    this.#writer.reset();
    for (const [token, taking] of [...this.#taking]) {
      this.#taking.delete(token);
      // The client is refused, because this node is not its writer.
      taking.resolve({ isNewest: true, session: undefined, incomingIds: [] });
    }
  }

  async close(): Promise<void> {
    for (const end of this.#unlisten) end();
    await this.#writer.close();
  }

  #followed(head: number): Promise<void> {
    if (head <= this.#options.head()) return Promise.resolve();
    return new Promise((resolve) => this.#followers.add({ head, resolve }));
  }

  #apply({ kind, client, generation, run, details, number }: RowChange, listener: BrokerRowsListener): void {
    const isOwn = run === this.#options.run;
    if (!isOwn || kind === "d") this.#unknown.delete(client);
    const before = this.#writers.get(client);
    const [detail = "", will = ""] = details;
    switch (kind) {
      case "t":
        // This node follows a client of another node only if the client has a session.
        if (isOwn || before !== undefined) this.#writers.set(client, { generation, run });
        if (isOwn) this.#applyOwnTake(detail, client, before, number);
        else listener.onTaken(client, undefined);
        return;
      case "c":
        this.#writers.set(client, { generation, run });
        if (!isOwn) listener.onTaken(client, detail);
        return;
      case "l":
        this.#writers.set(client, { generation, run: "" });
        if (isOwn) this.#writer.left(client, generation);
        if (!isOwn || this.#unknown.delete(client)) listener.onLeft(client, detail);
        return;
      case "a":
      case "w":
        this.#writers.set(client, { generation, run: kind === "a" ? "" : run });
        if (detail !== "") listener.onLeft(client, detail);
        else listener.onRemoved(client);
        if (kind === "w" && isOwn) listener.onWill(client, will);
        return;
      case "d":
        if (!isOwn || before?.run !== run) this.#writers.delete(client);
        if (!isOwn) listener.onRemoved(client);
    }
  }

  #applyOwnTake(token: string, client: string, before: Writer | undefined, change: number): void {
    this.#writer.applied(client);
    const taking = this.#taking.get(token);
    if (taking === undefined) {
      this.#refuse(client, change);
      return;
    }
    const isOther = before !== undefined && before.run !== "" && before.run !== this.#options.run;
    taking.isNewest = !isOther && !this.#unknown.delete(client);
    taking.change = change;
    this.#settle(token, taking);
  }

  /** The reply was lost, and the client was refused. */
  #refuse(client: string, change: number): void {
    this.#unknown.set(client, change);
    this.#writer.release(client);
  }

  #settle(token: string, taking: Taking): void {
    if (taking.change === undefined || taking.taken === undefined) return;
    this.#taking.delete(token);
    taking.resolve({ isNewest: taking.isNewest, ...taking.taken });
  }

  /** Redis has refused a row of this node. The change that says why is read soon. */
  #lost(client: string): void {
    this.#writers.set(client, { generation: "", run: "?" });
    this.#listener?.onTaken(client, undefined);
  }

  async #newestChange(): Promise<number> {
    const { reading, keys } = this.#options;
    const [newest] = await reading.do((redis) => redis.hmget(keys.meta, "rowChange"));
    return Number(newest ?? 0);
  }

  async *#fields(key: string): AsyncGenerator<readonly [string, string]> {
    let cursor = "0";
    do {
      const from: string = cursor;
      const [next, fields] = await this.#options.reading.do((redis) =>
        redis.hscan(key, from, "COUNT", FIELDS_PER_READ),
      );
      for (let at = 0; at + 1 < fields.length; at += 2) yield [fields[at] ?? "", fields[at + 1] ?? ""];
      cursor = next;
    } while (cursor !== "0");
  }

  /** Takes over the clients of ended runs. One look at a time. */
  #look(): Promise<void> {
    this.#looking ??= this.#lookOnce().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #lookOnce(): Promise<void> {
    const term = this.#term;
    await this.#arrive();
    try {
      const isFirst = await this.#writer.look(CLIENTS_PER_LOOK);
      this.#isFirst = isFirst && term === this.#term;
    } catch (error) {
      if (!(error instanceof StoreUnavailableError)) throw error;
      this.#options.logger.debug({ err: error }, "clients of ended nodes not looked for");
    }
  }
}
