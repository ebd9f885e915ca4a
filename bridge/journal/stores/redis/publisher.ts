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
  /** `unemitted` has more to give. */
  onOrphan: () => void;
  /** So many more entries of this node are in the journal. */
  onAppended: (count: number) => void;
  logger: Logger;
}

/**
 * Hands entries to followers, in the order of the log and each once, whichever way they come: own ones with the answer
 * to their append, which costs no reading, all others with the log. Whoever comes too early waits for the log.
 */
export class Publisher {
  readonly #options: PublisherOptions;
  /** Where batches of this node are in the log. */
  readonly #bases = new WeakMap<Batch, number>();
  readonly #published = new WeakSet<Batch>();
  #hasWarnedOfFullStateTable = false;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** Where the batch is in the log, less one; undefined when its answer was not heard. */
  baseOf(batch: Batch): number | undefined {
    return this.#bases.get(batch);
  }

  /** A batch of this node is in the log behind `base`, where `previous` was the stamp. */
  appended(batch: Batch, base: number, previous: string): void {
    const { view, run } = this.#options;
    const { head, stamp } = view();
    this.#bases.set(batch, base);
    if (this.#published.has(batch)) return;
    // Of some of it the log may have been read before the answer.
    const next = batch.starts.find((offset) => base + offset === head);
    if (next !== undefined && (next > 0 || previous === stamp)) {
      const last = batch.starts.at(-1) ?? 0;
      this.#publish(batch.entries(base, next, batch.size), stampOf({ run, batch: batch.number, offset: last }));
      this.#completed(batch, base);
    } else if (base < head) this.#completed(batch, base);
  }

  /** What the log holds behind what this node has published. */
  arrived(chunks: readonly Chunk[]): Continuity {
    const { view, run, writer, mqttOutbox } = this.#options;
    const entries: Entry[] = [];
    const completed: [Batch, number][] = [];
    let { head, stamp } = view();
    let fit: Continuity = "continues";
    let hasOrphan = false;
    for (const chunk of chunks) {
      if (chunk.base + chunk.size <= head) continue;
      if (chunk.base > head) fit = "cut-off";
      else if (chunk.base < head || chunk.previous !== stamp) fit = "rolled-back";
      if (fit !== "continues") break;
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
    return fit;
  }

  #publish(entries: readonly Entry[], stamp: string): void {
    const { view, followers, logger } = this.#options;
    const topic = view().apply(entries, stamp);
    if (topic !== undefined && !this.#hasWarnedOfFullStateTable) {
      this.#hasWarnedOfFullStateTable = true;
      logger.warn({ topic }, "too many retained topics: the state of further ones is not kept");
    }
    followers.call(entries);
  }

  #completed(batch: Batch, base: number): void {
    const { writer, mqttOutbox, logger } = this.#options;
    this.#published.add(batch);
    if (writer().sent(batch.number) !== batch) {
      // Its senders were told that it failed, and will be told of a repetition.
      mqttOutbox.addOrphan(base);
      this.#options.onOrphan();
      return;
    }
    if (batch.undelivered.length > 0 && !mqttOutbox.add(base, batch.undelivered))
      logger.warn("messages are not reported as emitted, the oldest will be emitted again after this run");
    writer().published(batch, base);
    this.#options.onAppended(batch.size);
  }
}
