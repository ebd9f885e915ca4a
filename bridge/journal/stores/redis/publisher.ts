import type { Logger } from "pino";
import type { Listeners } from "../../../../platform/listeners.ts";
import type { Entry } from "../../journal.ts";
import type { Batch } from "./batch.ts";
import { type Chunk, entriesOf, stampOf } from "./chunk.ts";
import type { JournalView } from "./journal-view.ts";
import type { Continuity } from "./log-reader.ts";
import type { MqttOutbox } from "./mqtt-outbox.ts";
import type { Writer } from "./writer.ts";

export interface PublisherOptions {
  /** This run of this node. */
  run: string;
  mqttOutbox: MqttOutbox;
  view: () => JournalView;
  writer: () => Writer;
  followers: Listeners<[entries: readonly Entry[]]>;
  /** `undelivered` has new messages. */
  onOrphan: () => void;
  /** Called after an append. @param count the number of appended entries */
  onAppended: (count: number) => void;
  logger: Logger;
}

/**
 * Passes entries to the followers, in the order of the log and each entry once. Entries of this node arrive with the
 * reply to their append, which needs no reading. Entries of other nodes arrive by reading the log. If the entries
 * before a batch of this node are not published yet, the batch waits until the log has been read up to it.
 */
export class Publisher {
  readonly #options: PublisherOptions;
  /** The position before each batch of this node. */
  readonly #bases = new WeakMap<Batch, number>();
  readonly #published = new WeakSet<Batch>();
  #hasWarnedOfFullStateTable = false;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** The position before the batch; undefined when the reply to its append was lost. */
  baseOf(batch: Batch): number | undefined {
    return this.#bases.get(batch);
  }

  /**
   * Publishes a batch of this node.
   * @param base the position before the batch
   * @param previous the stamp of the chunk before the batch
   */
  appended(batch: Batch, base: number, previous: string): void {
    const { view, run } = this.#options;
    const { head, stamp } = view();
    this.#bases.set(batch, base);
    if (this.#published.has(batch)) return;
    // Part of the batch may already have been read from the log.
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
      const batch = chunk.run === run ? writer().sent(chunk.batch) : undefined;
      if (batch !== undefined) {
        const end = batch.endOfChunk(chunk.offset);
        entries.push(...batch.entries(base, chunk.offset, end));
        if (end === batch.size) completed.push([batch, base]);
      } else {
        entries.push(...entriesOf(chunk));
        if (chunk.run === run) {
          mqttOutbox.addOrphan(base);
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
    if (writer().sent(batch.number) !== batch) {
      // The appends of this batch were already rejected. The senders will retry, and the retries are duplicates.
      mqttOutbox.addOrphan(base);
      this.#options.onOrphan();
      return;
    }
    if (batch.undelivered.length > 0 && !mqttOutbox.add(base, batch.undelivered))
      logger.warn("too many undelivered messages, the oldest will be delivered again after this run");
    writer().published(batch, base);
    this.#options.onAppended(batch.size);
  }
}
