import type { Logger } from "pino";
import type { RedisConnections } from "../../../../platform/redis/connections.ts";
import type { MovedFloor } from "./channels.ts";
import { type Chunk, readChunk } from "./chunk.ts";
import { Connection } from "./connection.ts";
import type { JournalKeys } from "./keys.ts";
import { CHUNKS_PER_READ } from "./loading.ts";

/** What the log turned out to be: `next` follows what was read, else why it does not. */
export type Continuity = "continues" | "cut-off" | "rolled-back";

export interface LogReaderOptions {
  redis: RedisConnections;
  keys: JournalKeys;
  /** How long Redis holds a read back when there is nothing new; then the reader looks whether the journal is the same. */
  blockMs: number;
  commandTimeoutMs: number;
  /** The newest position that this node has published, the epoch it is of, and the trims that were loaded with it. */
  place: () => { epoch: string; head: number; trimsId: string };
  onChunks: (chunks: readonly Chunk[]) => Continuity;
  onFloors: (floors: readonly MovedFloor[]) => void;
  /** The journal is another one: resolves when this node knows it. */
  onJournalChanged: (fit: Exclude<Continuity, "continues">) => Promise<void>;
  onFailed: (error: unknown) => void;
  onWorked: () => void;
  logger: Logger;
}

/** The pause after a failure, and before Redis is asked again. */
const RETRY_MS = 100;
/** How long the connection may take to come up before the failure is told. */
const READY_TIMEOUT_MS = 1_000;

/**
 * Reads the log as it grows, on a connection of its own, always from what this node has published on. So nothing falls
 * into a hole while the connection is away: it is read afterwards.
 */
export class LogReader {
  readonly #options: LogReaderOptions;
  readonly #connection: Connection;
  #trimsId: string;
  #closed = false;
  #running: Promise<void> | undefined;
  /** The head that Redis spoke of, without any entry that leads there. */
  #headWithoutEntries: number | undefined;

  constructor(options: LogReaderOptions) {
    this.#options = options;
    this.#trimsId = options.place().trimsId;
    const { redis, blockMs, commandTimeoutMs } = options;
    this.#connection = new Connection(redis, "journal-log", blockMs + commandTimeoutMs);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#closed = true;
    this.#connection.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { onFailed, onWorked, logger } = this.#options;
    let failures = 0;
    while (!this.#closed) {
      try {
        await this.#connection.ready(READY_TIMEOUT_MS);
        // After a failure it is not waited for something new: what is there may be another journal.
        const fit = failures === 0 ? await this.#read() : await this.#look();
        failures = 0;
        onWorked();
        if (fit === "continues") continue;
        this.#headWithoutEntries = undefined;
        await this.#options.onJournalChanged(fit);
        this.#trimsId = this.#options.place().trimsId;
      } catch (error) {
        if (this.#closed) return;
        logger.debug({ err: error }, "the log of the journal was not read");
        // A connection that is made again at once delays entries of other nodes, and that is all.
        if (++failures > 1) onFailed(error);
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  async #read(): Promise<Continuity> {
    const { keys, blockMs, place, onChunks, onFloors } = this.#options;
    const { epoch, head } = place();
    const from = `${head}-0`;
    const found = await this.#connection.do((redis) =>
      redis.xreadBuffer(
        ...(["COUNT", CHUNKS_PER_READ, "BLOCK", blockMs, "STREAMS"] as const),
        ...[keys.log, keys.trims, from, this.#trimsId],
      ),
    );
    if (found === null) return await this.#look();
    // What was asked of the journal that is gone means nothing in the one that is known now.
    if (place().epoch !== epoch) return "continues";
    let fit: Continuity = "continues";
    for (const [name, rows] of found) {
      if (name.toString() === keys.log) {
        this.#headWithoutEntries = undefined;
        fit = onChunks(rows.map(([id, fields]) => readChunk(id, fields)));
      } else {
        for (const [id, [, floors]] of rows) {
          this.#trimsId = id.toString();
          const moved: MovedFloor[] = JSON.parse(floors?.toString() ?? "[]");
          onFloors(moved);
        }
      }
    }
    return fit;
  }

  /** Nothing new came: that may be so because everything is gone. */
  async #look(): Promise<Continuity> {
    const { keys, place } = this.#options;
    const known = place();
    const [epoch, head] = await this.#connection.do((redis) => redis.hmget(keys.meta, "epoch", "head"));
    const now = place();
    if (now.epoch !== known.epoch) return "continues";
    if (epoch !== known.epoch) return "cut-off";
    if (Number(head) < known.head) return "rolled-back";
    if (Number(head) <= now.head) {
      this.#headWithoutEntries = undefined;
      return "continues";
    }
    // What came in between would have been read by the next look; what is not there by then is gone.
    if (this.#headWithoutEntries !== undefined && this.#headWithoutEntries > now.head) return "cut-off";
    this.#headWithoutEntries = Number(head);
    return "continues";
  }
}
