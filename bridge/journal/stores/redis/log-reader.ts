import type { Logger } from "pino";
import { messageOf } from "../../../../platform/errors.ts";
import type { Connection } from "../../../../platform/redis/connection.ts";
import type { RedisBrokerRows } from "./broker-rows.ts";
import type { MovedFloor } from "./channel-floors.ts";
import { CHUNKS_PER_READ, type Chunk, readChunk } from "./chunk.ts";
import type { JournalKeys } from "./keys.ts";
import type { ChunkPublications } from "./publication-log.ts";

/**
 * How the log relates to the entries that this node has published.
 * - `continues`: the log directly follows the published entries.
 * - `cut-off`: the next entries were already removed, or Redis holds another epoch.
 * - `rolled-back`: Redis lost some of the published entries.
 * - `reloading`: the journal is being reloaded, or was reloaded since the log was read.
 */
export type Continuity = "continues" | "cut-off" | "rolled-back" | "reloading";

interface LogReaderOptions {
  /** Used by nobody else, because reads block. */
  connection: Connection;
  keys: JournalKeys;
  /** How long Redis blocks a read when nothing is new. Then the reader checks whether Redis holds the same journal. */
  blockMs: number;
  /** Epoch, newest position and stamp of what this node has published, and the newest trim that it has loaded. */
  cursor: () => { epoch: string; head: number; stamp: string; trimsId: string };
  /** The chunks whose publications must be read before `onChunks`. */
  withoutPublications: (chunks: readonly Chunk[]) => Chunk[];
  publicationsOf: (chunks: readonly Chunk[], connection: Connection) => Promise<ChunkPublications>;
  onChunks: (chunks: readonly Chunk[], publications: ChunkPublications) => Continuity;
  onFloors: (floors: readonly MovedFloor[]) => void;
  /** Changes of the broker's rows, which are read with the log. */
  rows: Pick<RedisBrokerRows, "stream" | "arrived">;
  /** Publications up to the floor were removed: all removed rows have this size. */
  onPublicationFloor: (floor: number, trimmedBytes: number) => void;
  /** The run has removed publications of this size up to the position: all removed bytes are `removedBytes`. */
  onCompacted: (run: string, upTo: number, bytes: number, removedBytes: number) => void;
  /** Called when the master of this run id, to which this node has come, has everything that this node has published. */
  onContinues: (master: string) => void;
  /** Reloads the journal, or waits for the reload that is under way. Resolves when the new view is loaded. */
  onJournalChanged: (continuity: Exclude<Continuity, "continues">) => Promise<void>;
  logger: Logger;
}

/** The size of the publications of the chunks that are handed on together. */
const MAX_PUBLICATION_BYTES = 1024 * 1024;
const NO_PUBLICATIONS: ChunkPublications = new Map();
const RETRY_MS = 100;
const READY_TIMEOUT_MS = 1_000;

/**
 * Reads new chunks of the log. Each read begins after the newest published position, so no entry
 * is missed during a disconnection.
 */
export class LogReader {
  readonly #options: LogReaderOptions;
  #trimsId: string;
  #closed = false;
  /** Why entries of other nodes do not arrive; undefined when they do. */
  unavailableReason: string | undefined;
  #running: Promise<void> | undefined;
  /** The head in Redis at the last check, if this node had not read up to that head, and no read has failed since. */
  #headWithoutEntries: number | undefined;
  /** The run id of the master whose journal was checked last. */
  #master = "";
  /** Whether {@link #master} is known to have what this node has published. */
  #isProven = false;

  constructor(options: LogReaderOptions) {
    this.#options = options;
    this.#trimsId = options.cursor().trimsId;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#closed = true;
    // Ends a read that Redis blocks.
    this.#options.connection.interrupt();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { connection, logger } = this.#options;
    let failures = 0;
    while (!this.#closed) {
      try {
        await connection.ready(READY_TIMEOUT_MS);
        // After a failure Redis may hold another journal, so this is checked before the next blocking read.
        const master = connection.opened?.runId ?? "";
        const wasChecked = failures > 0 || master !== this.#master;
        if (wasChecked) this.#isProven = false;
        this.#master = master;
        const continuity = wasChecked ? await this.#check() : await this.#read();
        failures = 0;
        if (this.unavailableReason !== undefined) logger.info("the log of the journal is read again");
        this.unavailableReason = undefined;
        if (continuity === "continues") continue;
        this.#headWithoutEntries = undefined;
        await this.#options.onJournalChanged(continuity);
        this.#trimsId = this.#options.cursor().trimsId;
      } catch (error) {
        if (this.#closed) return;
        // The read after the check has failed, so entries that the check missed may still be there.
        this.#headWithoutEntries = undefined;
        logger.debug({ err: error }, "journal log not read, retrying");
        // The first failure is not reported: if the connection is back at once, entries of other nodes are only late.
        if (++failures > 1) {
          if (this.unavailableReason === undefined)
            logger.warn({ err: error }, "the log of the journal cannot be read");
          this.unavailableReason = messageOf(error);
        }
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  async #read(): Promise<Continuity> {
    const { connection, keys, blockMs, cursor, rows: changes } = this.#options;
    const { epoch, head } = cursor();
    const from = `${head}-0`;
    const options = ["COUNT", CHUNKS_PER_READ, "BLOCK", blockMs, "STREAMS"] as const;
    const streams = [keys.log, keys.trims, changes.stream.key] as const;
    // Redis runs the second command after the first one, so no entry that was read is of a later epoch than this one.
    const read = await connection.do((redis) =>
      Promise.all([
        redis.xreadBuffer(...options, ...streams, from, this.#trimsId, changes.stream.after),
        redis.hget(keys.meta, "epoch"),
      ]),
    );
    const [found, newestEpoch] = read;
    if (found === null) return await this.#check();
    // The journal was reloaded meanwhile: the reply belongs to the old journal.
    if (cursor().epoch !== epoch) return "reloading";
    // Another node has begun a new epoch. For a node that has lost nothing, the log has no break there.
    if (newestEpoch !== epoch) return "cut-off";
    let chunks: Chunk[] = [];
    for (const [name, rows] of found) {
      if (name.toString() === changes.stream.key) changes.arrived(rows);
      else if (name.toString() === keys.log) chunks = rows.map(([id, fields]) => readChunk(id, fields));
      else for (const [id, fields] of rows) this.#trimmed(id, fields);
    }
    if (chunks.length === 0) return "continues";
    this.#headWithoutEntries = undefined;
    return await this.#pass(chunks, epoch);
  }

  #trimmed(id: Buffer, [field, value]: Buffer[]): void {
    const { onFloors, onPublicationFloor, onCompacted } = this.#options;
    this.#trimsId = id.toString();
    if (field?.toString() === "p") {
      const [floor = 0, trimmedBytes = 0] = value?.toString().split(" ").map(Number) ?? [];
      onPublicationFloor(floor, trimmedBytes);
      return;
    }
    if (field?.toString() === "c") {
      const [run = "", ...numbers] = value?.toString().split(" ") ?? [];
      const [upTo = 0, bytes = 0, removedBytes = 0] = numbers.map(Number);
      onCompacted(run, upTo, bytes, removedBytes);
      return;
    }
    const moved: MovedFloor[] = JSON.parse(value?.toString() ?? "[]");
    onFloors(moved);
  }

  async #pass(chunks: readonly Chunk[], epoch: string): Promise<Continuity> {
    const { connection, cursor, withoutPublications, publicationsOf } = this.#options;
    const needed = withoutPublications(chunks);
    if (needed.length === 0) return this.#publish(chunks, NO_PUBLICATIONS);
    let bytes = 0;
    const tooMuch = needed.find((chunk, index) => {
      bytes += chunk.publicationBytes;
      return index > 0 && bytes > MAX_PUBLICATION_BYTES;
    });
    const publications = await publicationsOf(before(needed, tooMuch), connection);
    if (cursor().epoch !== epoch) return "reloading";
    // The next read gets the rest again.
    return this.#publish(before(chunks, tooMuch), publications);
  }

  #publish(chunks: readonly Chunk[], publications: ChunkPublications): Continuity {
    const continuity = this.#options.onChunks(chunks, publications);
    if (continuity === "continues") this.#prove();
    return continuity;
  }

  /** The journal of the master continues what this node has published. */
  #prove(): void {
    if (this.#isProven) return;
    this.#isProven = true;
    this.#options.onContinues(this.#master);
  }

  /** Checks whether Redis still holds the same journal. */
  async #check(): Promise<Continuity> {
    const { connection, keys, cursor } = this.#options;
    const known = cursor();
    const [epoch, head, stamp] = await connection.do((redis) => redis.hmget(keys.meta, "epoch", "head", "stamp"));
    const now = cursor();
    if (now.epoch !== known.epoch) return "continues";
    if (epoch !== known.epoch) return "cut-off";
    if (Number(head) < known.head) return "rolled-back";
    // Another node may have appended just as much as was lost.
    if (Number(head) === known.head && stamp !== known.stamp) return "rolled-back";
    if (Number(head) <= now.head) {
      this.#headWithoutEntries = undefined;
      this.#prove();
      return "continues";
    }
    // Entries that were just appended are read before the next check. If a read without failure does not find them, they
    // are lost.
    if (this.#headWithoutEntries !== undefined && this.#headWithoutEntries > now.head) return "cut-off";
    this.#headWithoutEntries = Number(head);
    return "continues";
  }
}

function before(chunks: readonly Chunk[], end: Chunk | undefined): readonly Chunk[] {
  return end === undefined ? chunks : chunks.slice(0, chunks.indexOf(end));
}
