import type { DeviceClock, Stamp } from "../host/clock.ts";
import type { Dropped, OutgoingMessage } from "./outbox.ts";

/** A message as memory knows it: its body and most of its topic's name are on disk only. */
export interface Item {
  /** In the order of `put`. */
  readonly key: number;
  readonly kind: OutgoingMessage["kind"];
  /** Of a state or an alert; empty for all others. */
  readonly topic: string;
  readonly stamp: Stamp;
  /** When it was put, from which its age counts: pictures that another program took may be years old when they come. */
  readonly kept: Stamp;
  readonly bytes: number;
  readonly binary: boolean;
  seq: number | undefined;
  /** It was handed out at least once, or may have been before a restart: the broker may have it. */
  sent: boolean;
  durable: boolean;
  /** `preparing`: its number is being written and its body read. */
  phase: "waiting" | "preparing" | "ready" | "inFlight";
  gone: boolean;
  /** Connections that the other side ended while it was under way. */
  cuts: number;
  /** Until then it is not sent, by `performance.now()`. */
  asideUntil: number;
}

export interface OutboxIndexLimits {
  /** What messages take, with their topics and an overhead for each. */
  maxBytes: number;
  maxMessages: number;
  /** Previews and events that have been here for longer are dropped. */
  maxAgeMs: number;
}

/** Bytes that a kept message costs besides its topic and body: an estimate, so that many tiny ones are bounded too. */
export const OVERHEAD_BYTES = 256;

/** In this order they go when there is no room. */
const DROP_ORDER = ["preview", "event", "state"] as const;
type Group = (typeof DROP_ORDER)[number] | "kept";

function groupOf(kind: Item["kind"]): Group {
  if (kind === "preview" || kind === "event") return kind;
  return kind === "state" || kind === "alert" ? "state" : "kept";
}

/** What is in the outbox, and what has to leave it unsent: the policy of coalescing, room and age. */
export class OutboxIndex {
  readonly #limits: OutboxIndexLimits;
  readonly #clock: DeviceClock;
  /** By key, so the oldest comes first. */
  readonly #items = new Map<number, Item>();
  readonly #groups: Readonly<Record<Group, Map<number, Item>>> = {
    preview: new Map(),
    event: new Map(),
    state: new Map(),
    kept: new Map(),
  };
  readonly #newest = new Map<string, Item>();
  #bytes = 0;
  dropped: Dropped | undefined;

  constructor(limits: OutboxIndexLimits, clock: DeviceClock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  get size(): number {
    return this.#items.size;
  }

  /** True while more than half of the room is taken. */
  get crowded(): boolean {
    return this.#bytes > this.#limits.maxBytes / 2 || this.#items.size > this.#limits.maxMessages / 2;
  }

  items(): Iterable<Item> {
    return this.#items.values();
  }

  /** Of a state or an alert: that there is no newer one of its topic. */
  isNewest(item: Item): boolean {
    return this.#newest.get(item.topic) === item;
  }

  /** @returns what has to go for it: the state it replaces */
  add(item: Item): Item[] {
    this.#items.set(item.key, item);
    this.#groups[groupOf(item.kind)].set(item.key, item);
    this.#bytes += item.bytes;
    if (item.topic === "") return [];
    const older = this.#newest.get(item.topic);
    this.#newest.set(item.topic, item);
    // One that has a number may have arrived, and the number must not be missed.
    if (older === undefined || older.phase !== "waiting" || older.seq !== undefined) return [];
    this.remove(older);
    return [older];
  }

  remove(item: Item): void {
    if (!this.#items.delete(item.key)) return;
    this.#groups[groupOf(item.kind)].delete(item.key);
    this.#bytes -= item.bytes;
    item.gone = true;
    if (this.#newest.get(item.topic) === item) this.#newest.delete(item.topic);
  }

  /** Removes and counts what there is no room for. */
  dropExcess(): Item[] {
    const victims: Item[] = [];
    const { maxBytes, maxMessages } = this.#limits;
    while (this.#bytes > maxBytes || this.#items.size > maxMessages) {
      const victim = this.#victim(true) ?? this.#victim(false);
      if (victim === undefined) break;
      this.#drop(victim);
      victims.push(victim);
    }
    return victims;
  }

  /** Removes and counts the previews and events that nobody is to get any more. */
  dropAged(): Item[] {
    const victims: Item[] = [];
    if (!this.#clock.usable) return victims;
    const oldest = this.#clock.now().getTime() - this.#limits.maxAgeMs;
    for (const group of ["preview", "event"] as const) {
      for (const item of this.#groups[group].values()) {
        if (item.phase !== "waiting" || item.seq !== undefined) continue;
        // Of a clock that was never set, the age is unknown.
        const dated = item.kept.trust !== "unset" || item.kept.boot === this.#clock.boot;
        if (dated && this.#clock.timeOf(item.kept).getTime() >= oldest) break;
        if (!dated) continue;
        victims.push(item);
      }
    }
    for (const victim of victims) this.#drop(victim);
    return victims;
  }

  /** Removes and counts the oldest previews, as many as free so much. */
  dropPreviews(bytes: number): Item[] {
    const victims: Item[] = [];
    let freed = 0;
    for (const item of this.#groups.preview.values()) {
      if (freed >= bytes) break;
      if (item.phase !== "waiting" || !item.durable) continue;
      victims.push(item);
      freed += item.bytes;
    }
    for (const victim of victims) this.#drop(victim);
    return victims;
  }

  /** Counts a message that never came here, or that had to leave. */
  count(stamp: Stamp): void {
    const at = this.#clock.timeOf(stamp).getTime();
    const { count, from, to } = this.dropped ?? { count: 0, from: new Date(at), to: new Date(at) };
    this.dropped = {
      count: count + 1,
      from: new Date(Math.min(at, from.getTime())),
      to: new Date(Math.max(at, to.getTime())),
    };
  }

  #drop(victim: Item): void {
    this.remove(victim);
    this.count(victim.stamp);
  }

  /** @param unnumbered those whose numbers nobody would miss; else, as the last resort, any that is not under way */
  #victim(unnumbered: boolean): Item | undefined {
    for (const group of DROP_ORDER) {
      for (const item of this.#groups[group].values())
        if (item.phase === "waiting" && (!unnumbered || item.seq === undefined)) return item;
    }
    return undefined;
  }
}
