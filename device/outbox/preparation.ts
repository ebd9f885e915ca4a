import type { Logger } from "pino";
import type { Item, OutboxIndex } from "./outbox-index.ts";
import type { Priority, PriorityQueue } from "./priority-queue.ts";
import { bodyKey, type Content, decodeContent, deletionsOf, metaKey, seqKey } from "./rows.ts";
import type { SequenceNumbers } from "./sequence-numbers.ts";
import type { Change, OutboxStore } from "./store.ts";

export interface PreparationOptions {
  store: OutboxStore;
  index: OutboxIndex;
  numbers: SequenceNumbers;
  lowestPriority: () => Priority;
  onReady: () => void;
  logger: Logger;
}

/** Prepares the next messages of a link: writes their numbers, and reads their bodies. */
export class Preparation {
  readonly #options: PreparationOptions;
  readonly #contents = new Map<Item, Content>();
  #queue: PriorityQueue | undefined;
  #runningQueue: PriorityQueue | undefined;

  constructor(options: PreparationOptions) {
    this.#options = options;
  }

  start(queue: PriorityQueue): void {
    this.#queue = queue;
  }

  stop(): void {
    this.#queue = undefined;
    this.#contents.clear();
  }

  contentOf(item: Item): Content | undefined {
    return this.#contents.get(item);
  }

  release(item: Item): void {
    this.#contents.delete(item);
  }

  /** Prepares messages until enough are ready. Does nothing while it runs, or while the link is down. */
  run(): void {
    if (this.#queue !== undefined && this.#queue !== this.#runningQueue) void this.#prepareAll(this.#queue);
  }

  /**
   * Prepares one batch after the other, because messages must stay in order and concurrent reads may finish in any
   * order.
   */
  async #prepareAll(queue: PriorityQueue): Promise<void> {
    const { lowestPriority } = this.#options;
    this.#runningQueue = queue;
    for (;;) {
      const items = queue.toPrepare(lowestPriority());
      if (items.length === 0) break;
      for (const item of items) item.phase = "preparing";
      await this.#prepare(queue, items);
      if (queue !== this.#queue) return;
    }
    this.#runningQueue = undefined;
  }

  async #prepare(queue: PriorityQueue, items: readonly Item[]): Promise<void> {
    const { store, index, numbers, onReady, logger } = this.#options;
    const rows = await store.read(items.flatMap(({ key }) => [metaKey(key), bodyKey(key)]));
    if (queue !== this.#queue) return;
    const changes: Change[] = [];
    const usable: Item[] = [];
    for (const [position, item] of items.entries()) {
      const content = decodeContent(rows[2 * position], rows[2 * position + 1]);
      if (content === undefined) {
        logger.error({ kind: item.kind }, "outbox message unreadable, dropped");
        index.remove(item);
        index.countDropped(item.stamp);
        queue.prepared(item, false);
        changes.push(...deletionsOf(item.key));
        continue;
      }
      // A message sent from memory had no number, and is sent again without one.
      if (!item.binary && item.seq === undefined && !item.sent) {
        item.seq = numbers.next();
        changes.push([seqKey(item.key), String(item.seq)]);
      }
      this.#contents.set(item, content);
      usable.push(item);
    }
    if (changes.length > 0) changes.push(...numbers.rows);
    store.write(changes, () => {
      if (queue !== this.#queue) return;
      for (const item of usable) {
        item.phase = "ready";
        queue.prepared(item, true);
      }
      onReady();
    });
  }
}
