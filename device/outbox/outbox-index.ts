import type { DeviceClock, Stamp } from "../host/clock.ts";
import type { Dropped, OutgoingMessage } from "./outbox.ts";
import type { Meta } from "./rows.ts";

/** What memory holds of a stored message. The body is on the disk only. */
export interface Item {
  /** Ascending in the order of `put`. */
  readonly key: number;
  readonly kind: OutgoingMessage["kind"];
  /** The topic of a state or an alert; empty for all other kinds. */
  readonly topic: string;
  /** When it happened. */
  readonly stamp: Stamp;
  /** When the message was put. Its age counts from then: pictures of another program may be years old by then. */
  readonly stored: Stamp;
  /** Size of body and topic, with {@link OVERHEAD_BYTES}. */
  readonly bytes: number;
  readonly binary: boolean;
  seq: number | undefined;
  /** Whether the message was handed out, or may have been before a restart: the broker may have received it. */
  sent: boolean;
  durable: boolean;
  /** `preparing`: its number is being written and its body read. */
  phase: "waiting" | "preparing" | "ready" | "inFlight";
  /** Whether the message left the outbox: acknowledged, replaced or dropped. */
  removed: boolean;
  /** The number of connections that the broker closed while the message was in flight. */
  disconnects: number;
  /** The message is not sent before this time, by `performance.now()`. */
  quarantinedUntil: number;
}

export interface OutboxIndexLimits {
  /** Size of all messages, with their topics and an overhead for each. */
  maxBytes: number;
  maxMessages: number;
  /** Older previews and events are dropped. */
  maxAgeMs: number;
}

/** Estimated cost of a message besides its topic and body. It bounds the number of tiny messages too. */
export const OVERHEAD_BYTES = 256;

/** The order in which messages are dropped when the outbox is full. */
const DROP_ORDER = ["preview", "event", "state"] as const;
type DropClass = (typeof DROP_ORDER)[number] | "neverDropped";

export function createItem(key: number, { kind, topic, stamp, kept = stamp, bytes, binary }: Meta): Item {
  return {
    key,
    kind,
    topic: isState(kind) ? topic : "",
    stamp,
    stored: kept,
    bytes: bytes + OVERHEAD_BYTES,
    binary,
    seq: undefined,
    sent: false,
    durable: false,
    phase: "waiting",
    removed: false,
    disconnects: 0,
    quarantinedUntil: 0,
  };
}

/** Whether a newer message on the same topic replaces one of this kind. */
export function isState(kind: OutgoingMessage["kind"]): boolean {
  return kind === "state" || kind === "alert";
}

function dropClassOf(kind: OutgoingMessage["kind"]): DropClass {
  if (kind === "preview" || kind === "event") return kind;
  return isState(kind) ? "state" : "neverDropped";
}

/** Counts one more dropped message. */
export function withDropped(dropped: Dropped | undefined, at: Date): Dropped {
  if (dropped === undefined) return { count: 1, from: at, to: at };
  const { count, from, to } = dropped;
  return { count: count + 1, from: at < from ? at : from, to: at > to ? at : to };
}

/**
 * The messages in the outbox, and the policy for dropping them: when a newer state replaces an older one, when a
 * preview or an event becomes too old, or when the outbox is full.
 */
export class OutboxIndex {
  readonly #limits: OutboxIndexLimits;
  readonly #clock: DeviceClock;
  /** By key, oldest first. */
  readonly #items = new Map<number, Item>();
  readonly #byDropClass: Readonly<Record<DropClass, Map<number, Item>>> = {
    preview: new Map(),
    event: new Map(),
    state: new Map(),
    neverDropped: new Map(),
  };
  /** The newest state or alert of each topic. */
  readonly #newest = new Map<string, Item>();
  #bytes = 0;
  /** Messages dropped and not yet reported. */
  dropped: Dropped | undefined;

  constructor(limits: OutboxIndexLimits, clock: DeviceClock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  get size(): number {
    return this.#items.size;
  }

  /** True while more than half of the allowed bytes or messages are used. */
  get isCrowded(): boolean {
    return this.#bytes > this.#limits.maxBytes / 2 || this.#items.size > this.#limits.maxMessages / 2;
  }

  items(): Iterable<Item> {
    return this.#items.values();
  }

  /** Whether a state or an alert is the newest on its topic. */
  isNewest(item: Item): boolean {
    return this.#newest.get(item.topic) === item;
  }

  /** @returns the older state that the message replaced, if any */
  add(item: Item): Item[] {
    this.#items.set(item.key, item);
    this.#byDropClass[dropClassOf(item.kind)].set(item.key, item);
    this.#bytes += item.bytes;
    if (item.topic === "") return [];
    const older = this.#newest.get(item.topic);
    this.#newest.set(item.topic, item);
    // A message with a number is kept: it may have arrived, and without it the server would see a gap in the numbers.
    if (older === undefined || older.phase !== "waiting" || older.seq !== undefined) return [];
    this.remove(older);
    return [older];
  }

  remove(item: Item): void {
    if (!this.#items.delete(item.key)) return;
    this.#byDropClass[dropClassOf(item.kind)].delete(item.key);
    this.#bytes -= item.bytes;
    item.removed = true;
    if (this.#newest.get(item.topic) === item) this.#newest.delete(item.topic);
  }

  /** Drops messages until the limits hold. @returns the dropped messages */
  dropExcess(): Item[] {
    const victims: Item[] = [];
    const { maxBytes, maxMessages } = this.#limits;
    while (this.#bytes > maxBytes || this.#items.size > maxMessages) {
      const victim = this.#victim({ withNumber: false }) ?? this.#victim({ withNumber: true });
      if (victim === undefined) break;
      this.#drop(victim);
      victims.push(victim);
    }
    return victims;
  }

  /** Drops the previews and events that are too old. @returns the dropped messages */
  dropAged(): Item[] {
    const victims: Item[] = [];
    if (!this.#clock.usable) return victims;
    const oldest = this.#clock.now().getTime() - this.#limits.maxAgeMs;
    for (const dropClass of ["preview", "event"] as const) {
      for (const item of this.#byDropClass[dropClass].values()) {
        if (item.phase !== "waiting" || item.seq !== undefined) continue;
        // A message's age is unknown if the clock was never set during the boot in which the message was put.
        const hasAge = item.stored.trust !== "unset" || item.stored.boot === this.#clock.boot;
        if (hasAge && this.#clock.timeOf(item.stored).getTime() >= oldest) break;
        if (!hasAge) continue;
        victims.push(item);
      }
    }
    for (const victim of victims) this.#drop(victim);
    return victims;
  }

  /** Drops the oldest previews until `bytes` are freed. @returns the dropped messages */
  dropPreviews(bytes: number): Item[] {
    const victims: Item[] = [];
    let freed = 0;
    for (const item of this.#byDropClass.preview.values()) {
      if (freed >= bytes) break;
      if (item.phase !== "waiting" || !item.durable) continue;
      victims.push(item);
      freed += item.bytes;
    }
    for (const victim of victims) this.#drop(victim);
    return victims;
  }

  /** Counts a message that could not be stored or read. */
  countDropped(stamp: Stamp): void {
    this.dropped = withDropped(this.dropped, this.#clock.timeOf(stamp));
  }

  #drop(victim: Item): void {
    this.remove(victim);
    this.countDropped(victim.stamp);
  }

  /** The next message to drop. One with a number is the last resort: the server would see the number missing. */
  #victim({ withNumber }: { withNumber: boolean }): Item | undefined {
    for (const dropClass of DROP_ORDER) {
      for (const item of this.#byDropClass[dropClass].values())
        if (item.phase === "waiting" && (withNumber || item.seq === undefined)) return item;
    }
    return undefined;
  }
}
