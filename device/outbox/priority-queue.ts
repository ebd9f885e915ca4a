import { type Item, isState } from "./outbox-index.ts";

/**
 * The order of sending. Within a priority, the oldest message is sent first. Present states come before present events,
 * and both before the backlog. Previews come after the other present messages, and previews of the backlog last.
 */
export const Priority = {
  state: 0,
  alert: 1,
  reply: 2,
  event: 3,
  /** The newest preview. The next one moves it to `oldPreview`. */
  preview: 4,
  backlog: 5,
  oldPreview: 6,
} as const;
export type Priority = (typeof Priority)[keyof typeof Priority];

const PRIORITIES = Object.keys(Priority).length;
/** How many messages of a priority are prepared in advance: as many as can be in flight. */
const MAX_PREPARED = 16;
/** Only one preview is prepared in advance, so that a newer one can still be sent before those that wait. */
const MAX_PREPARED_PREVIEWS = 1;
const MAX_PREPARED_OLD_PREVIEWS = 4;

export function priorityOfNew(kind: Item["kind"], isLate: boolean): Priority {
  if (kind === "event") return isLate ? Priority.backlog : Priority.event;
  if (kind === "preview") return isLate ? Priority.oldPreview : Priority.preview;
  return Priority[kind === "report" ? "reply" : kind];
}

/** The priority of a message from before the link came up; undefined for a replaced state, which is not sent. */
export function priorityOfStored(item: Item, isNewest: boolean): Priority | undefined {
  const isReplaced = isState(item.kind) && !isNewest;
  if (!isReplaced) return priorityOfNew(item.kind, true);
  // A numbered message must be sent, because the server would otherwise see a gap in the numbers.
  return item.seq === undefined ? undefined : Priority.backlog;
}

function maxPreparedOf(priority: number): number {
  if (priority === Priority.preview) return MAX_PREPARED_PREVIEWS;
  return priority === Priority.oldPreview ? MAX_PREPARED_OLD_PREVIEWS : MAX_PREPARED;
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
    if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
}

export class PriorityQueue {
  readonly #waiting: readonly Fifo[] = Array.from({ length: PRIORITIES }, () => new Fifo());
  readonly #ready: readonly Fifo[] = Array.from({ length: PRIORITIES }, () => new Fifo());
  readonly #preparing: number[] = Array.from({ length: PRIORITIES }, () => 0);
  readonly #priorityOf = new WeakMap<Item, Priority>();

  get fresh(): number {
    let count = 0;
    for (let priority = 0; priority < Priority.backlog; priority++)
      count +=
        (this.#waiting[priority]?.length ?? 0) +
        (this.#preparing[priority] ?? 0) +
        (this.#ready[priority]?.length ?? 0);
    return count;
  }

  priorityOf(item: Item): Priority | undefined {
    return this.#priorityOf.get(item);
  }

  add(item: Item, priority: Priority): void {
    if (priority === Priority.preview) {
      const older = this.#waiting[Priority.preview]?.shift();
      if (older !== undefined) this.add(older, Priority.oldPreview);
    }
    this.#priorityOf.set(item, priority);
    this.#waiting[priority]?.push(item);
  }

  /** Moves the next waiting messages to those being prepared. @param lowest excludes lower priorities */
  toPrepare(lowest: Priority): Item[] {
    const items: Item[] = [];
    for (const [priority, waiting] of this.#waiting.entries()) {
      if (priority > lowest) break;
      let room = maxPreparedOf(priority) - (this.#preparing[priority] ?? 0) - (this.#ready[priority]?.length ?? 0);
      while (room > 0) {
        const item = waiting.shift();
        if (item === undefined) break;
        if (item.removed) continue;
        items.push(item);
        this.#countPreparing(priority, 1);
        room--;
      }
    }
    return items;
  }

  prepared(item: Item, usable: boolean): void {
    const priority = this.#priorityOf.get(item);
    if (priority === undefined) return;
    this.#countPreparing(priority, -1);
    if (usable) this.#ready[priority]?.push(item);
  }

  /** The next ready message. @param lowest excludes lower priorities */
  first(lowest: Priority): Item | undefined {
    for (const [priority, ready] of this.#ready.entries()) {
      if (priority > lowest) return undefined;
      if (ready.first !== undefined) return ready.first;
    }
    return undefined;
  }

  shift(item: Item): void {
    const priority = this.#priorityOf.get(item);
    if (priority !== undefined) this.#ready[priority]?.shift();
  }

  #countPreparing(priority: number, change: number): void {
    this.#preparing[priority] = (this.#preparing[priority] ?? 0) + change;
  }
}
