import type { DeviceClock, Stamp } from "../host/clock.ts";
import type { Dropped, OutgoingMessage } from "./outbox.ts";
import type { Meta } from "./rows.ts";

/** A stored message in memory. Its body is on the disk only. */
export class Item {
  /** Ascending in the order of `put`. */
  readonly key: number;
  readonly kind: OutgoingMessage["kind"];
  /** Empty unless the message is a state or an alert. */
  readonly topic: string;
  readonly stamp: Stamp;
  /** The time of `put`, from which the age counts. (Pictures of another program may be years old when they are put.) */
  readonly stored: Stamp;
  readonly bytes: number;
  readonly binary: boolean;
  seq: number | undefined = undefined;
  /** Whether the broker may have received the message. */
  sent = false;
  durable = false;
  /** `preparing`: its number is being written, and its body read. */
  phase: "waiting" | "preparing" | "ready" | "inFlight" = "waiting";
  removed = false;
  /** How many connections the broker closed while the message was in flight. */
  disconnects = 0;
  quarantinedUntil = 0;

  constructor(key: number, { kind, topic, stamp, kept = stamp, bytes, binary }: Meta) {
    this.key = key;
    this.kind = kind;
    this.topic = isState(kind) ? topic : "";
    this.stamp = stamp;
    this.stored = kept;
    this.bytes = bytes + OVERHEAD_BYTES;
    this.binary = binary;
  }
}

export interface OutboxIndexLimits {
  maxBytes: number;
  maxMessages: number;
  maxAgeMs: number;
}

/** A message's estimated cost besides topic and body. It makes the limit in bytes apply to tiny messages too. */
export const OVERHEAD_BYTES = 256;

const DROP_ORDER = ["preview", "event", "state"] as const;
type DropClass = (typeof DROP_ORDER)[number] | "neverDropped";

/** Whether a newer message on the same topic replaces a waiting message of this kind. */
export function isState(kind: OutgoingMessage["kind"]): boolean {
  return kind === "state" || kind === "alert";
}

function dropClassOf(kind: OutgoingMessage["kind"]): DropClass {
  if (kind === "preview" || kind === "event") return kind;
  return isState(kind) ? "state" : "neverDropped";
}

export function withDropped(dropped: Dropped | undefined, at: Date): Dropped {
  if (dropped === undefined) return { count: 1, from: at, to: at };
  const { count, from, to } = dropped;
  return { count: count + 1, from: at < from ? at : from, to: at > to ? at : to };
}

export class OutboxIndex {
  readonly #limits: OutboxIndexLimits;
  readonly #clock: DeviceClock;
  readonly #items = new Map<number, Item>();
  readonly #byDropClass: Readonly<Record<DropClass, Map<number, Item>>> = {
    preview: new Map(),
    event: new Map(),
    state: new Map(),
    neverDropped: new Map(),
  };
  /** The newest state or alert, by topic. */
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

  get isCrowded(): boolean {
    return this.#bytes > this.#limits.maxBytes / 2 || this.#items.size > this.#limits.maxMessages / 2;
  }

  items(): Iterable<Item> {
    return this.#items.values();
  }

  isNewest(item: Item): boolean {
    return this.#newest.get(item.topic) === item;
  }

  /** @returns the replaced older state, if any */
  add(item: Item): Item[] {
    this.#items.set(item.key, item);
    this.#byDropClass[dropClassOf(item.kind)].set(item.key, item);
    this.#bytes += item.bytes;
    if (item.topic === "") return [];
    const older = this.#newest.get(item.topic);
    this.#newest.set(item.topic, item);
    // A numbered message is not replaced: the server would see a gap in the numbers.
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

  /** @returns the dropped messages */
  dropAged(): Item[] {
    const victims: Item[] = [];
    if (!this.#clock.usable) return victims;
    const oldest = this.#clock.now().getTime() - this.#limits.maxAgeMs;
    for (const dropClass of ["preview", "event"] as const) {
      for (const item of this.#byDropClass[dropClass].values()) {
        if (item.phase !== "waiting" || item.seq !== undefined) continue;
        // The age is unknown if the message was put during an earlier boot in which the clock was never set.
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

  countDropped(stamp: Stamp): void {
    this.dropped = withDropped(this.dropped, this.#clock.timeOf(stamp));
  }

  #drop(victim: Item): void {
    this.remove(victim);
    this.countDropped(victim.stamp);
  }

  /**
   * The next message to drop. A numbered message is the last resort, because the server would see a gap in the numbers.
   */
  #victim({ withNumber }: { withNumber: boolean }): Item | undefined {
    for (const dropClass of DROP_ORDER) {
      for (const item of this.#byDropClass[dropClass].values())
        if (item.phase === "waiting" && (withNumber || item.seq === undefined)) return item;
    }
    return undefined;
  }
}
