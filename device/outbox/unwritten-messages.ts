import type { OutgoingMessage } from "./outbox.ts";
import type { Item } from "./outbox-index.ts";
import { type Content, deletionsOf, RowPrefix } from "./rows.ts";
import type { Change, OutboxStore } from "./store.ts";

/** Bytes in memory while the disk cannot be written. Previews may take half of them. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;

interface Unwritten {
  readonly content: Content;
  readonly bytes: number;
  /** Changes that the store does not have yet, because the disk could not be written. */
  held: readonly Change[] | undefined;
  readonly stored: () => void;
}

/** Messages that are not on the disk yet. They wait in memory while the disk cannot be written. */
export class UnwrittenMessages {
  readonly #store: OutboxStore;
  readonly #onWritten: (item: Item) => void;
  readonly #messages = new Map<Item, Unwritten>();
  #heldBytes = 0;

  constructor(store: OutboxStore, onWritten: (item: Item) => void) {
    this.#store = store;
    this.#onWritten = onWritten;
  }

  get size(): number {
    return this.#messages.size;
  }

  has(item: Item): boolean {
    return this.#messages.has(item);
  }

  contentOf(item: Item): Content | undefined {
    return this.#messages.get(item)?.content;
  }

  hasRoomFor(kind: OutgoingMessage["kind"], bytes: number): boolean {
    // There is always room for reports, which are few and short, and say what was dropped.
    if (kind === "report") return true;
    const maxBytes = kind === "preview" ? MAX_WAITING_BYTES / 2 : MAX_WAITING_BYTES;
    return this.#store.waitingBytes + this.#heldBytes + bytes <= maxBytes;
  }

  /** Resolves when the message is stored or acknowledged. */
  add(item: Item, content: Content, bytes: number, changes: readonly Change[]): Promise<void> {
    return new Promise((resolve) => {
      const isHeld = this.#store.failure !== undefined;
      const unwritten: Unwritten = { content, bytes, held: isHeld ? changes : undefined, stored: resolve };
      this.#messages.set(item, unwritten);
      if (isHeld) this.#heldBytes += bytes;
      else this.#write(item, unwritten, changes);
    });
  }

  writeHeld(): void {
    for (const [item, unwritten] of this.#messages) {
      const { held } = unwritten;
      if (held === undefined) continue;
      unwritten.held = undefined;
      this.#write(item, unwritten, held);
    }
    this.#heldBytes = 0;
  }

  /** The oldest message that is no preview, or else the oldest preview. */
  next(): Item | undefined {
    let next: Item | undefined;
    for (const item of this.#messages.keys()) {
      if (item.removed || item.phase !== "waiting" || item.quarantinedUntil > performance.now()) continue;
      if (next === undefined || item.kind !== "preview") next = item;
      if (item.kind !== "preview") break;
    }
    return next;
  }

  /** @returns the deletions to write: none for a message that the store never received */
  discard(items: readonly Item[]): Change[] {
    return items.flatMap((item) => {
      const unwritten = this.#messages.get(item);
      if (unwritten?.held === undefined) return deletionsOf(item.key);
      this.#messages.delete(item);
      this.#heldBytes -= unwritten.bytes;
      unwritten.stored();
      return [];
    });
  }

  /** Only the deduplication key of an acknowledged message is still written. */
  acknowledge(item: Item): void {
    const unwritten = this.#messages.get(item);
    const dedupKeys = unwritten?.held?.filter(([key]) => key.startsWith(RowPrefix.dedupKey)) ?? [];
    const changes = [...dedupKeys, ...this.discard([item])];
    this.#messages.delete(item);
    if (changes.length > 0) this.#store.write(changes, () => {});
    unwritten?.stored();
  }

  #write(item: Item, unwritten: Unwritten, changes: readonly Change[]): void {
    this.#store.write(changes, () => {
      this.#messages.delete(item);
      item.durable = true;
      this.#onWritten(item);
      unwritten.stored();
    });
  }
}
