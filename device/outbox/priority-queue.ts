import type { Item } from "./outbox-index.ts";

/**
 * The order in which messages leave. A lane is served when all before it are empty; within a lane the oldest comes first.
 * What is true now comes before what happened, what happens now before what was, and pictures after words.
 */
export const Lane = {
  state: 0,
  alert: 1,
  reply: 2,
  event: 3,
  /** The newest picture; when a newer one comes, it joins the old ones. */
  preview: 4,
  /** What was kept from before the link came up. */
  backlog: 5,
  oldPreview: 6,
} as const;
export type Lane = (typeof Lane)[keyof typeof Lane];

const LANES = 7;
/** Messages of a lane that have their number and their body at hand: as many as can be under way at once. */
const PREPARED = 16;
/** A new picture that is not prepared yet gives way to a newer one. */
const PREPARED_PREVIEWS = 1;
/** Old ones do not, but they are large. */
const PREPARED_OLD_PREVIEWS = 4;

function preparedOf(priority: number): number {
  if (priority === Lane.preview) return PREPARED_PREVIEWS;
  return priority === Lane.oldPreview ? PREPARED_OLD_PREVIEWS : PREPARED;
}

class Fifo {
  #items: Item[] = [];
  #head = 0;

  get first(): Item | undefined {
    return this.#items[this.#head];
  }

  get length(): number {
    return this.#items.length - this.#head;
  }

  push(item: Item): void {
    this.#items.push(item);
  }

  shift(): Item | undefined {
    const item = this.#items[this.#head];
    if (item === undefined) return undefined;
    this.#head++;
    // Now and then, so that it costs nothing.
    if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
}

/** Which message is next, while a link is up. */
export class PriorityQueue {
  readonly #waiting: readonly Fifo[] = Array.from({ length: LANES }, () => new Fifo());
  readonly #ready: readonly Fifo[] = Array.from({ length: LANES }, () => new Fifo());
  readonly #preparing: number[] = Array.from({ length: LANES }, () => 0);
  readonly #laneOf = new WeakMap<Item, Lane>();

  /** Messages in all lanes before the backlog. */
  get fresh(): number {
    let count = 0;
    for (let priority = 0; priority < Lane.backlog; priority++)
      count +=
        (this.#waiting[priority]?.length ?? 0) +
        (this.#preparing[priority] ?? 0) +
        (this.#ready[priority]?.length ?? 0);
    return count;
  }

  laneOf(item: Item): Lane | undefined {
    return this.#laneOf.get(item);
  }

  add(item: Item, priority: Lane): void {
    if (priority === Lane.preview) {
      const older = this.#waiting[Lane.preview]?.shift();
      if (older !== undefined) this.add(older, Lane.oldPreview);
    }
    this.#laneOf.set(item, priority);
    this.#waiting[priority]?.push(item);
  }

  /** Those whose turn comes next; from now on they are being prepared. @param last the last lane that is looked at */
  toPrepare(last: Lane): Item[] {
    const items: Item[] = [];
    for (const [priority, waiting] of this.#waiting.entries()) {
      if (priority > last) break;
      let room = preparedOf(priority) - (this.#preparing[priority] ?? 0) - (this.#ready[priority]?.length ?? 0);
      while (room > 0) {
        const item = waiting.shift();
        if (item === undefined) break;
        if (item.gone) continue;
        items.push(item);
        this.#count(priority, 1);
        room--;
      }
    }
    return items;
  }

  /** @param usable false for one that turned out to be unreadable */
  prepared(item: Item, usable: boolean): void {
    const priority = this.#laneOf.get(item);
    if (priority === undefined) return;
    this.#count(priority, -1);
    if (usable) this.#ready[priority]?.push(item);
  }

  /** The next that can be sent. @param last the last lane that is looked at */
  first(last: Lane): Item | undefined {
    for (const [priority, ready] of this.#ready.entries()) {
      if (priority > last) return undefined;
      if (ready.first !== undefined) return ready.first;
    }
    return undefined;
  }

  /** Removes what {@link first} gave. */
  shift(item: Item): void {
    const priority = this.#laneOf.get(item);
    if (priority !== undefined) this.#ready[priority]?.shift();
  }

  #count(priority: number, change: number): void {
    this.#preparing[priority] = (this.#preparing[priority] ?? 0) + change;
  }
}
