import type { LoggedPublication } from "../../../../platform/publication-log.ts";
import type { StoreOwner } from "../../core/store.ts";
import type { Entry } from "../../journal.ts";
import type { Batch } from "./batch.ts";
import type { RedisBrokerRows } from "./broker-rows.ts";
import { type Chunk, entriesOf, stampOf } from "./chunk.ts";
import type { Continuity } from "./log-reader.ts";
import type { ChunkPublications } from "./publication-log.ts";
import type { Writer, WriterContext } from "./writer.ts";

interface PublisherOptions extends Pick<WriterContext, "run" | "open" | "view"> {
  writer: () => Writer;
  owner: StoreOwner;
  rows: Pick<RedisBrokerRows, "advance">;
  /** Whether another view is being loaded, which is compared with what was published before. */
  isReloading: () => boolean;
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
  /** Batches that are published, and wait for replicas. */
  readonly #waiting = new WeakSet<Batch>();

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** Publishes a batch of this node. The parameters are as in the options of the writer. */
  appended(batch: Batch, base: number, previous: string): void {
    const { view, run, isReloading } = this.#options;
    const { head, stamp } = view();
    this.bases.set(batch, base);
    if (this.#waiting.delete(batch)) this.#completed(batch, base);
    // After a reload, the batch is read from the log, if the log has it.
    if (this.#published.has(batch) || isReloading()) return;
    // The first chunks of the batch may already have been read from the log.
    const next = batch.starts.find((offset) => base + offset === head);
    if (next !== undefined && (next > 0 || previous === stamp)) {
      const last = batch.starts.at(-1) ?? 0;
      for (const [index, start] of batch.starts.entries())
        if (start >= next) view().publications.add(base + batch.endOfChunk(start), batch.rowBytes[index] ?? 0);
      const stamp = stampOf({ run, batch: batch.number, offset: last });
      this.#publish(batch.entries(base, next, batch.size), batch.publications(base, next, batch.size), stamp);
      this.#completed(batch, base);
    } else if (base < head) this.#completed(batch, base);
  }

  /** The chunks whose publications must be read before {@link arrived}. This node has those of its own batches. */
  withoutPublications(chunks: readonly Chunk[]): Chunk[] {
    const { head } = this.#options.view();
    return chunks.filter(
      (chunk) => chunk.publicationBytes > 0 && lastOf(chunk) > head && this.#batchOf(chunk) === undefined,
    );
  }

  /** Publishes chunks that were read from the log. */
  arrived(chunks: readonly Chunk[], publicationsOf: ChunkPublications): Continuity {
    const { view, run, open, owner } = this.#options;
    const entries: Entry[] = [];
    const publications: LoggedPublication[] = [];
    const completed: [Batch, number][] = [];
    let { head, stamp } = view();
    let continuity: Continuity = "continues";
    let hasOrphan = false;
    let missing: { after: number; before: number } | undefined;
    for (const chunk of chunks) {
      const last = lastOf(chunk);
      if (last <= head) continue;
      if (chunk.base > head) continuity = "cut-off";
      else if (chunk.base < head || chunk.previous !== stamp) continuity = "rolled-back";
      if (continuity !== "continues") break;
      const base = chunk.base - chunk.offset;
      const batch = this.#batchOf(chunk);
      if (batch !== undefined) {
        const end = batch.endOfChunk(chunk.offset);
        entries.push(...batch.entries(base, chunk.offset, end));
        publications.push(...batch.publications(base, chunk.offset, end));
        if (end === batch.size) completed.push([batch, base]);
      } else {
        // The append of this batch was rejected since `withoutPublications`: the next read gets the chunk again.
        if (chunk.publicationBytes > 0 && !publicationsOf.has(last)) break;
        const read = chunk.publicationBytes > 0 ? publicationsOf.get(last) : NO_PUBLICATIONS;
        if (read === undefined) missing = { after: missing?.after ?? chunk.base, before: last + 1 };
        else publications.push(...read);
        entries.push(...entriesOf(chunk));
        if (chunk.run === run) {
          open.addOrphan(chunk.base + 1, last);
          hasOrphan = true;
        }
      }
      head = last;
      stamp = stampOf(chunk);
      view().publications.add(last, chunk.publicationBytes);
      view().history.push(last, stamp);
    }
    if (entries.length > 0) this.#publish(entries, publications, stamp);
    if (missing !== undefined) owner.log.missed(missing.after, missing.before);
    for (const [batch, base] of completed) this.#completed(batch, base);
    if (hasOrphan) owner.foundUnfinished();
    return continuity;
  }

  #batchOf({ run, batch }: Chunk): Batch | undefined {
    return run === this.#options.run ? this.#options.writer().sent.get(batch) : undefined;
  }

  #publish(entries: readonly Entry[], publications: readonly LoggedPublication[], stamp: string): void {
    const { view, owner, rows } = this.#options;
    const skippedStateTopic = view().applyChunks(entries, stamp);
    owner.publish(entries, publications, skippedStateTopic);
    rows.advance();
  }

  #completed(batch: Batch, base: number): void {
    const { writer, open, owner } = this.#options;
    if (!batch.isReplicated) {
      this.#waiting.add(batch);
      return;
    }
    this.#published.add(batch);
    if (writer().sent.get(batch.number) !== batch) {
      // The appends of this batch were already rejected. The senders retry, and the retries are duplicates.
      open.addOrphan(base + 1, base + batch.size);
      owner.foundUnfinished();
      return;
    }
    for (const position of batch.openPositions(base)) open.add(position);
    writer().published(batch, base);
    owner.appended(batch.size);
  }
}

const NO_PUBLICATIONS: readonly LoggedPublication[] = [];

function lastOf({ base, size }: Chunk): number {
  return base + size;
}
