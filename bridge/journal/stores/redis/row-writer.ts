import type { Logger } from "pino";
import { StoreUnavailableError } from "../../../../platform/errors.ts";
import type { Connection } from "../../../../platform/redis/connection.ts";
import { partsOf, type Reply } from "../../../../platform/redis/reply.ts";
import type { JournalKeys } from "./keys.ts";
import { ROWS } from "./scripts.ts";

/** How long a changed row waits for others to join. */
const FLUSH_DELAY_MS = 50;
const RETRY_MS = 200;
/** How long a client that connects waits for the node that had it, which may not have come to a new Redis master yet. */
const MAX_TAKE_WAIT_MS = 4_000;
const TAKE_RETRY_MS = 50;
const MAX_BATCH = 1_000;
const MAX_BATCH_CHARS = 512 * 1024;
/** Closing waits this long for the last rows. */
const CLOSE_TIMEOUT_MS = 1_000;

interface Operation {
  args: readonly (string | number)[];
  done: (result: Reply) => void;
  /** Called when it is unknown whether the operation was done. */
  failed: (error: Error) => void;
}

/** A row that is not written. */
interface ChangedRow {
  value: string | undefined;
  /** Grows with each call of `set`; of several values of a row, the first one's. */
  version: number;
}

interface RowWriterOptions {
  connection: Connection;
  keys: JournalKeys;
  run: string;
  /** The sorted set of living nodes. */
  members: string;
  epoch: () => string;
  /** The generation of the client that this node knows, and whether this run has the client. */
  writerOf(client: string): { generation: string; isThis: boolean } | undefined;
  /** Redis has refused a row, because another run has the client. */
  onRefused(client: string): void;
  /** The client, which had this generation, has left and has no session. */
  onGone(client: string, generation: string): void;
  logger: Logger;
}

/**
 * Writes the rows of the broker's clients, by one call of the script at a time. Rows that change meanwhile share the next
 * call. A call that fails is repeated until Redis answers; only takes and removals fail with it, because a client waits
 * for them.
 */
export class RowWriter {
  readonly #options: RowWriterOptions;
  readonly #collectors = new Set<() => void>();
  /** In the order of their versions, which is the order of writing. */
  #changed = new Map<string, ChangedRow>();
  #version = 0;
  readonly #releasing = new Set<string>();
  /** The generations of clients that have left this run, or may have, until this node has read the change. */
  readonly #left = new Map<string, string>();
  /** Generations of takes whose change this node has not read yet. */
  readonly #taken = new Map<string, string>();
  #operations: Operation[] = [];
  /** Each waits until all rows up to its version are written. */
  #flushes: { version: number; resolve: () => void; reject: (error: Error) => void }[] = [];
  /** The rows of the call that is under way. */
  #inFlight = new Map<string, ChangedRow>();
  #resets = 0;
  /** The run id of the master at which clients may leave this run: it has what this run knows of them. */
  #settledMaster = "";
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: RowWriterOptions) {
    this.#options = options;
  }

  set(key: string, value: string | undefined): void {
    const known = this.#changed.get(key);
    if (known === undefined) this.#changed.set(key, { value, version: ++this.#version });
    else known.value = value;
    this.#soon();
  }

  beforeWrite(collect: () => void): () => void {
    this.#collectors.add(collect);
    return () => this.#collectors.delete(collect);
  }

  flush(): Promise<void> {
    if (this.#changed.size + this.#inFlight.size === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#flushes.push({ version: this.#version, resolve, reject });
      this.#start();
    });
  }

  /** The client disconnects from this run, after its changed rows are written. */
  release(client: string): void {
    this.#releasing.add(client);
    this.#soon();
  }

  async take(client: string, token: string): Promise<{ session: string; incomingIds: number[]; will: string }> {
    this.#releasing.delete(client);
    const [generation, , session, ids, will = ""] = await this.#take(client, token);
    // This node may have read the change already.
    if (this.#options.writerOf(client)?.generation !== String(generation)) this.#taken.set(client, String(generation));
    return { session: String(session), incomingIds: partsOf(ids ?? []).map(Number), will: String(will) };
  }

  /** After a failover, the client's node may know more than the new master, and has to write that first. */
  async #take(client: string, token: string): Promise<readonly Reply[]> {
    for (let leftMs = MAX_TAKE_WAIT_MS; ; leftMs -= TAKE_RETRY_MS) {
      const taken = partsOf(await this.#run(["T", client, token, leftMs > 0 ? 1 : 0]));
      if (taken[0] !== "wait") return taken;
      await new Promise((resolve) => setTimeout(resolve, TAKE_RETRY_MS));
    }
  }

  /** The run id of the Redis master to which this node is connected. */
  get master(): string {
    return this.#options.connection.opened?.runId ?? "";
  }

  /**
   * This run has come to the master, and has written what the master had lost: its clients may leave it there.
   * @returns false if Redis has another master meanwhile
   */
  async arrive(master: string): Promise<boolean> {
    this.#settledMaster = master;
    return (await this.#run(["A", master])) === 1;
  }

  /** This node has read the change of its take. */
  applied(client: string): void {
    this.#taken.delete(client);
    this.#left.delete(client);
  }

  /** This node has read that the client has left it. */
  left(client: string, generation: string): void {
    if (this.#left.get(client) === generation) this.#left.delete(client);
  }

  async remove(client: string): Promise<boolean> {
    this.#changed.delete(`session:${client}`);
    const generation = this.#taken.get(client) ?? this.#options.writerOf(client)?.generation;
    if (generation === undefined) return true;
    return (await this.#run(["D", client, generation])) === 1;
  }

  async register(): Promise<void> {
    await this.#run(["O"]);
  }

  /** Takes over clients of ended runs. @returns whether this run is the first one, until it is taken for dead */
  async look(limit: number): Promise<boolean> {
    return (await this.#run(["B", limit])) === 1;
  }

  /** Forgets what is not written: the rows may belong to other runs. */
  reset(): void {
    this.#resets++;
    this.#settledMaster = "";
    this.#changed.clear();
    this.#releasing.clear();
    this.#left.clear();
    this.#taken.clear();
    this.#endFlushes("this node has missed changes of other nodes");
  }

  async close(): Promise<void> {
    const last = this.flush().then(() => this.#writing);
    await Promise.race([last.catch(() => {}), new Promise((resolve) => setTimeout(resolve, CLOSE_TIMEOUT_MS).unref())]);
    this.#isClosed = true;
    clearTimeout(this.#timer);
    const error = new StoreUnavailableError("the journal is closed");
    for (const { failed } of this.#operations.splice(0)) failed(error);
    this.#endFlushes("the journal is closed");
  }

  #endFlushes(why: string): void {
    for (const { reject } of this.#flushes.splice(0)) reject(new StoreUnavailableError(why));
  }

  #run(args: readonly (string | number)[]): Promise<Reply> {
    return new Promise((resolve, reject) => {
      this.#operations.push({ args, done: resolve, failed: reject });
      this.#start();
    });
  }

  #soon(): void {
    if (this.#isClosed) return;
    this.#timer ??= setTimeout(() => this.#start(), FLUSH_DELAY_MS).unref();
  }

  #start(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined;
      // An operation may have come after the last look at the queue.
      if (this.#operations.length > 0 && !this.#isClosed) this.#start();
    });
  }

  async #writeAll(): Promise<void> {
    while (!this.#isClosed) {
      // Changes of the same turn of the event loop join this call.
      await new Promise((resolve) => setImmediate(resolve));
      for (const collect of this.#collectors) collect();
      const batch = this.#nextBatch();
      if (batch.length === 0) return;
      const error = await this.#write(batch);
      if (error === undefined) continue;
      this.#options.logger.debug({ err: error }, "rows of the MQTT broker not written, retrying");
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  /** Rows first, then releases, which announce these rows, then what waits for an answer. */
  #nextBatch(): Operation[] {
    const batch: Operation[] = [];
    let chars = 0;
    for (const [key, row] of this.#changed) {
      if (batch.length >= MAX_BATCH || chars >= MAX_BATCH_CHARS) return batch;
      this.#changed.delete(key);
      this.#inFlight.set(key, row);
      chars += key.length + (row.value?.length ?? 0);
      batch.push(this.#storing(key, row));
    }
    for (const client of this.#settledMaster === this.master ? this.#releasing : []) {
      if (batch.length >= MAX_BATCH) return batch;
      this.#releasing.delete(client);
      batch.push(this.#leaving(client));
    }
    batch.push(...this.#operations.splice(0, MAX_BATCH));
    return batch;
  }

  #storing(key: string, row: ChangedRow): Operation {
    const client = key.slice(key.indexOf(":") + 1);
    const generation = this.#generationOf(client) ?? "";
    const done = (result: Reply) => {
      if (result === 1) return;
      const known = this.#generationOf(client);
      // This run has taken the client again meanwhile.
      if (known !== generation && known !== undefined) this.#again([[key, row]]);
      else if (known !== undefined && known !== this.#left.get(client)) this.#options.onRefused(client);
    };
    return { args: ["S", client, generation, key, row.value ?? ""], done, failed: () => {} };
  }

  #leaving(client: string): Operation {
    const generation = this.#generationOf(client) ?? "";
    const resets = this.#resets;
    this.#left.set(client, generation);
    return {
      args: ["L", client, generation],
      done: (result) => {
        if (result !== 2) return;
        this.left(client, generation);
        this.#options.onGone(client, generation);
      },
      failed: () => {
        if (resets === this.#resets && this.#generationOf(client) === generation) this.#releasing.add(client);
      },
    };
  }

  /** Undefined when another run has the client. */
  #generationOf(client: string): string | undefined {
    const writer = this.#options.writerOf(client);
    return this.#taken.get(client) ?? (writer?.isThis === true ? writer.generation : undefined);
  }

  async #write(batch: readonly Operation[]): Promise<Error | undefined> {
    const { connection, keys, run, members, epoch } = this.#options;
    const resets = this.#resets;
    let error: Error;
    try {
      const args: (string | number)[] = [keys.prefix, epoch(), run, members, this.master];
      for (const operation of batch) args.push(...operation.args);
      const [verdict, , results] = partsOf(await connection.run(ROWS, keys.meta, args));
      if (verdict === "ok") {
        if (connection.waitsForReplicas) await connection.replicated();
        this.#inFlight.clear();
        for (const [index, result] of partsOf(results ?? []).entries()) batch[index]?.done(result);
        this.#flushed();
        return undefined;
      }
      error = new StoreUnavailableError("Redis holds another journal");
    } catch (cause) {
      error = cause instanceof Error ? cause : new Error(String(cause));
    }
    if (resets === this.#resets) this.#again(this.#inFlight);
    this.#inFlight.clear();
    for (const { failed } of batch) failed(error);
    return error;
  }

  /** The rows come first again, with their newest values. */
  #again(rows: Iterable<[string, ChangedRow]>): void {
    const changed = new Map(rows);
    for (const [key, row] of this.#changed) {
      const older = changed.get(key);
      if (older === undefined) changed.set(key, row);
      else older.value = row.value;
    }
    this.#changed = changed;
  }

  #flushed(): void {
    const [oldest] = this.#changed.values();
    const written = oldest === undefined ? Number.POSITIVE_INFINITY : oldest.version - 1;
    this.#flushes = this.#flushes.filter(({ version, resolve }) => {
      if (version > written) return true;
      resolve();
      return false;
    });
  }
}
