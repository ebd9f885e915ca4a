import type { Logger } from "pino";
import type { Listeners } from "../../../../platform/listeners.ts";
import type { Entry } from "../../journal.ts";
import type { Batch } from "./batch.ts";
import { type Chunk, entriesOf, stampOf } from "./chunk.ts";
import type { Continuity } from "./log-reader.ts";
import type { Writer, WriterContext } from "./writer.ts";

interface PublisherOptions extends Pick<WriterContext, "run" | "mqttOutbox" | "view"> {
  writer: () => Writer;
  followers: Listeners<[entries: readonly Entry[]]>;
  /** Called when `undelivered` has new messages. */
  onOrphan: () => void;
  onAppended: (entryCount: number) => void;
  logger: Logger;
}

/**
 * Passes each entry to the followers once, in the order of the log. Entries of this node are published when Redis
 * confirms their append. Entries of other nodes are read from the log. If the entries before a batch of this node are
 * not published yet, the batch waits until the log has been read up to it.
 */
export class Publisher {
  readonly #options: PublisherOptions;
  /** The position before each batch of this node, unless the reply to its append was lost. */
  readonly bases = new WeakMap<Batch, number>();
  readonly #published = new WeakSet<Batch>();
  #hasWarnedOfFullStateTable = false;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** Publishes a batch of this node. The parameters are as in the options of the writer. */
  appended(batch: Batch, base: number, previous: string): void {
    const { view, run } = this.#options;
    const { head, stamp } = view();
    this.bases.set(batch, base);
    if (this.#published.has(batch)) return;
    // The first chunks of the batch may already have been read from the log.
    const next = batch.starts.find((offset) => base + offset === head);
    if (next !== undefined && (next > 0 || previous === stamp)) {
      const last = batch.starts.at(-1) ?? 0;
      this.#publish(batch.entries(base, next, batch.size), stampOf({ run, batch: batch.number, offset: last }));
      this.#completed(batch, base);
    } else if (base < head) this.#completed(batch, base);
  }

  /** Publishes chunks that were read from the log. */
  arrived(chunks: readonly Chunk[]): Continuity {
    const { view, run, writer, mqttOutbox } = this.#options;
    const entries: Entry[] = [];
    const completed: [Batch, number][] = [];
    let { head, stamp } = view();
    let continuity: Continuity = "continues";
    let hasOrphan = false;
    for (const chunk of chunks) {
      if (chunk.base + chunk.size <= head) continue;
      if (chunk.base > head) continuity = "cut-off";
      else if (chunk.base < head || chunk.previous !== stamp) continuity = "rolled-back";
      if (continuity !== "continues") break;
      const base = chunk.base - chunk.offset;
      const batch = chunk.run === run ? writer().sent.get(chunk.batch) : undefined;
      if (batch !== undefined) {
        const end = batch.endOfChunk(chunk.offset);
        entries.push(...batch.entries(base, chunk.offset, end));
        if (end === batch.size) completed.push([batch, base]);
      } else {
        entries.push(...entriesOf(chunk));
        if (chunk.run === run) {
          mqttOutbox.orphans.add(base);
          hasOrphan = true;
        }
      }
      head = chunk.base + chunk.size;
      stamp = stampOf(chunk);
    }
    if (entries.length > 0) this.#publish(entries, stamp);
    for (const [batch, base] of completed) this.#completed(batch, base);
    if (hasOrphan) this.#options.onOrphan();
    return continuity;
  }

  #publish(entries: readonly Entry[], stamp: string): void {
    const { view, followers, logger } = this.#options;
    const topic = view().apply(entries, stamp);
    if (topic !== undefined && !this.#hasWarnedOfFullStateTable) {
      this.#hasWarnedOfFullStateTable = true;
      logger.warn({ topic }, "too many retained topics, state of further topics is not stored");
    }
    followers.call(entries);
  }

  #completed(batch: Batch, base: number): void {
    const { writer, mqttOutbox, logger } = this.#options;
    this.#published.add(batch);
    if (writer().sent.get(batch.number) !== batch) {
      // The appends of this batch were already rejected. The senders retry, and the retries are duplicates.
      mqttOutbox.orphans.add(base);
      this.#options.onOrphan();
      return;
    }
    if (batch.undelivered.length > 0 && !mqttOutbox.add(base, batch.undelivered))
      logger.warn("too many undelivered messages, the oldest will be delivered again after this run");
    writer().published(batch, base);
    this.#options.onAppended(batch.size);
  }
}
