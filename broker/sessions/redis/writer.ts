import type { Logger } from "pino";
import type { RedisConnections } from "../../../platform/redis/connections.ts";
import { RetryingConnection, StorageUnavailableError, UNAVAILABLE_AFTER_MS } from "../../cluster/redis-connection.ts";
import { SCRIPT } from "./script.ts";

/** Operations in one call of the script. Each operation blocks Redis for about 10 µs. */
const MAX_BATCH = 256;
const MAX_BATCH_BYTES = 1_048_576;
/** Operations that may wait. Publications do not fill this queue: ingest refuses them while Redis is unavailable. */
const MAX_WAITING = 50_000;
const MAX_WAITING_BYTES = 67_108_864;

type Argument = string | Buffer;

/** One operation of `script.ts`. */
export interface Operation {
  keys: readonly string[];
  /** The operation's letter comes first. */
  args: readonly Argument[];
}

interface Waiting {
  /** Called again for each attempt, because the operation may have changed meanwhile. */
  build: () => Operation;
  bytes: number;
  resolve: (result: readonly string[]) => void;
  reject: (error: Error) => void;
}

/** A full queue has dropped its oldest messages. */
export interface Drop {
  clientId: string;
  dropped: number;
  /** The queue's size, only if the queue has just begun to drop messages. */
  began: { messages: number; bytes: number } | undefined;
}

interface WriterOptions {
  redis: RedisConnections;
  name: string;
  /** The first keys and arguments of every call: see `script.ts`. */
  head(): { keys: readonly string[]; args: readonly string[] };
  /** Resolves when this node has applied the change. */
  caughtUp(change: string): Promise<void>;
  onDrop(drop: Drop): void;
  /** Called with the total size of all queues. `at` orders the replies of several writers. */
  onTotals(totals: { messages: number; bytes: number; at: number }): void;
  logger: Logger;
}

/** Runs operations in order. Operations that arrive during a call of the script share the next call. */
export class RedisWriter {
  readonly #options: WriterOptions;
  readonly #connection: RetryingConnection;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #writing = false;
  /** When the current call began. */
  #since = 0;

  constructor(options: WriterOptions) {
    this.#options = options;
    this.#connection = new RetryingConnection(options.redis, options.name, options.logger);
  }

  /** Why nothing could be written for some seconds. */
  get unavailableReason(): string | undefined {
    if (!this.#writing || performance.now() - this.#since < UNAVAILABLE_AFTER_MS) return undefined;
    return this.#connection.unavailableReason ?? "Redis does not answer";
  }

  get lastError(): string | undefined {
    return this.#connection.unavailableReason;
  }

  /**
   * Retries until Redis has answered.
   * @param bytes the size of the large arguments
   * @throws {StorageUnavailableError} too many operations wait, or the writer is closed
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

  /** Operations that were not written are abandoned. */
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

/** Reads the reply without a schema: validation took longer than everything else in this file together. */
function readReply(reply: unknown) {
  if (!Array.isArray(reply)) throw new StorageUnavailableError("Redis sent an unexpected reply to the script");
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
