import type { Logger } from "pino";
import type { RedisConnections } from "../../../platform/redis/connections.ts";
import { RetryingConnection, StorageUnavailableError, UNAVAILABLE_AFTER_MS } from "../../cluster/redis-connection.ts";
import { SCRIPT } from "./script.ts";

/** One call of the script blocks Redis for everybody: some 10 µs an operation. */
const MAX_BATCH = 256;
const MAX_BATCH_BYTES = 1_048_576;
/** Waiting while Redis is away. Ingest refuses then, so only what was under way can come together. */
const MAX_WAITING = 50_000;
const MAX_WAITING_BYTES = 67_108_864;

type Argument = string | Buffer;

/** One operation of `script.ts`. */
export interface Operation {
  keys: readonly string[];
  /** The letter first. */
  args: readonly Argument[];
}

interface Waiting {
  /** Asked for again whenever it is sent: what it holds may have changed. */
  build: () => Operation;
  bytes: number;
  resolve: (result: readonly string[]) => void;
  reject: (error: Error) => void;
}

/** A full queue of a session dropped its oldest messages. */
export interface Drop {
  clientId: string;
  dropped: number;
  /** What the queue held, when it had not been dropping before. */
  began: { messages: number; bytes: number } | undefined;
}

export interface WriterOptions {
  redis: RedisConnections;
  name: string;
  /** What every call begins with: see `script.ts`. */
  head(): { keys: readonly string[]; args: readonly string[] };
  /** Resolves when this node knows of the change of a session. */
  caughtUp(change: string): Promise<void>;
  onDrop(drop: Drop): void;
  /** @param totals of all queues, at that time by Redis' clock: replies to several writers come in any order */
  onTotals(totals: { messages: number; bytes: number; at: number }): void;
  logger: Logger;
}

/**
 * Carries out operations in the order they came, one call of the script at a time; those that come meanwhile share the
 * next. A call that fails is made again until Redis has answered it.
 */
export class RedisWriter {
  readonly #options: WriterOptions;
  readonly #connection: RetryingConnection;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #writing = false;
  /** Since when the operation that is first has waited. */
  #since = 0;

  constructor(options: WriterOptions) {
    this.#options = options;
    this.#connection = new RetryingConnection(options.redis, options.name, options.logger);
  }

  /** Why nothing has been written for seconds; undefined while all is well. */
  get unavailableReason(): string | undefined {
    if (!this.#writing || performance.now() - this.#since < UNAVAILABLE_AFTER_MS) return undefined;
    return this.#connection.unavailableReason ?? "Redis does not answer";
  }

  /** What Redis objected last. */
  get objection(): string | undefined {
    return this.#connection.unavailableReason;
  }

  /**
   * @param bytes what it holds in memory until then, beside some hundred
   * @throws {StorageUnavailableError} too much waits for Redis, or the writer is closed
   */
  run(build: () => Operation, bytes = 0): Promise<readonly string[]> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.length >= MAX_WAITING || this.#waitingBytes + bytes > MAX_WAITING_BYTES) {
        reject(new StorageUnavailableError(`${this.#waiting.length} operations wait for Redis`));
        return;
      }
      this.#waitingBytes += bytes;
      this.#waiting.push({ build, bytes, resolve, reject });
      if (!this.#writing) void this.#write();
    });
  }

  /** What was not written is given up. */
  close(): void {
    this.#connection.close();
  }

  async #write(): Promise<void> {
    this.#writing = true;
    try {
      while (this.#waiting.length > 0) {
        this.#since = performance.now();
        await this.#writeBatch();
      }
    } catch (error) {
      const given = error instanceof Error ? error : new StorageUnavailableError(String(error));
      this.#waitingBytes = 0;
      for (const { reject } of this.#waiting.splice(0)) reject(given);
    } finally {
      this.#writing = false;
    }
  }

  async #writeBatch(): Promise<void> {
    const head = this.#options.head();
    const keys: string[] = [...head.keys];
    const args: Argument[] = [...head.args];
    let count = 0;
    let bytes = 0;
    for (const { build } of this.#waiting) {
      const operation = build();
      for (const key of operation.keys) keys.push(key);
      for (const argument of operation.args) {
        args.push(argument);
        bytes += argument.length;
      }
      if (++count === MAX_BATCH || bytes >= MAX_BATCH_BYTES) break;
    }
    const reply = await this.#connection.retry((connection) => SCRIPT.run(connection, keys, args));
    const { results, stale, drops, messages, bytes: total, at } = readReply(reply);
    this.#options.onTotals({ messages, bytes: total, at });
    for (let first = 0; first < drops.length; first += 4) {
      const [clientId = "", dropped, before, beforeBytes] = drops.slice(first, first + 4);
      const began = before === "0" ? undefined : { messages: Number(before), bytes: Number(beforeBytes) };
      this.#options.onDrop({ clientId, dropped: Number(dropped), began });
    }
    const done = this.#waiting.splice(0, results.length);
    for (const [index, { resolve, bytes: held }] of done.entries()) {
      this.#waitingBytes -= held;
      resolve(results[index] ?? []);
    }
    if (stale !== "") await this.#options.caughtUp(stale);
  }
}

interface Reply {
  results: readonly (readonly string[])[];
  stale: string;
  drops: readonly string[];
  messages: number;
  bytes: number;
  at: number;
}

/** By hand: a schema took longer than everything else here together. */
function readReply(reply: unknown): Reply {
  if (!Array.isArray(reply)) throw new StorageUnavailableError("Redis answered what the script does not say");
  const [results, stale, drops, messages, bytes, at]: unknown[] = reply;
  return {
    results: Array.isArray(results) ? results.map(strings) : [],
    stale: String(stale),
    drops: strings(drops),
    messages: Number(messages),
    bytes: Number(bytes),
    at: Number(at),
  };
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.map(String) : [];
}
