import type { Dropped, Outbox, OutboxEntry, OutgoingMessage } from "./outbox.ts";

/** Bytes that a kept message costs besides its topic and body: an estimate, so that many tiny ones are bounded too. */
const OVERHEAD_BYTES = 256;

export const DEFAULT_OUTBOX_BYTES = 8 * 1024 * 1024;

interface Kept {
  message: OutgoingMessage;
  seq: number | undefined;
  bytes: number;
  inFlight: boolean;
  sent: boolean;
}

/** An {@link Outbox} that a power cut empties. */
export class MemoryOutbox implements Outbox {
  readonly #maxBytes: number;
  /** In the order of `put`; a Set, because acknowledgements remove from anywhere. */
  readonly #kept = new Set<Kept>();
  /** The state that waits, by topic. */
  readonly #states = new Map<string, Kept>();
  #bytes = 0;
  #lastSeq = 0;
  #dropped: Dropped | undefined;

  /** @param options.maxBytes Default 8 MiB. What is in flight is never dropped, so the window comes on top. */
  constructor({ maxBytes = DEFAULT_OUTBOX_BYTES }: { maxBytes?: number } = {}) {
    this.#maxBytes = maxBytes;
  }

  get size(): number {
    return this.#kept.size;
  }

  async put(message: OutgoingMessage): Promise<void> {
    const older = message.kind === "state" ? this.#states.get(message.topic) : undefined;
    if (older !== undefined) this.#remove(older);
    const bytes = Buffer.byteLength(message.body) + Buffer.byteLength(message.topic) + OVERHEAD_BYTES;
    const kept = { message, seq: undefined, bytes, inFlight: false, sent: false };
    this.#kept.add(kept);
    this.#bytes += bytes;
    if (message.kind === "state") this.#states.set(message.topic, kept);
    while (this.#bytes > this.#maxBytes && this.#dropOne()) {
      // One message may need the room of several.
    }
  }

  take(): OutboxEntry | undefined {
    for (const kept of this.#kept) {
      if (kept.inFlight) continue;
      kept.inFlight = true;
      kept.sent = true;
      if (this.#states.get(kept.message.topic) === kept) this.#states.delete(kept.message.topic);
      if (typeof kept.message.body === "string") kept.seq ??= ++this.#lastSeq;
      return kept;
    }
    return undefined;
  }

  async acknowledge(entry: OutboxEntry): Promise<void> {
    for (const kept of this.#kept) {
      if (kept === entry) return this.#remove(kept);
      if (!kept.inFlight) return;
    }
  }

  release(): void {
    for (const kept of this.#kept) kept.inFlight = false;
  }

  takeDropped(): Dropped | undefined {
    if (this.#bytes > this.#maxBytes / 2) return undefined;
    const dropped = this.#dropped;
    this.#dropped = undefined;
    return dropped;
  }

  #remove(kept: Kept): void {
    if (!this.#kept.delete(kept)) return;
    this.#bytes -= kept.bytes;
    if (this.#states.get(kept.message.topic) === kept) this.#states.delete(kept.message.topic);
  }

  /** False when nothing may go. */
  #dropOne(): boolean {
    const victim = this.#oldest("preview") ?? this.#oldest("event") ?? this.#oldest("state");
    if (victim === undefined) return false;
    this.#remove(victim);
    const at = victim.message.at.getTime();
    const { count, from, to } = this.#dropped ?? { count: 0, from: victim.message.at, to: victim.message.at };
    this.#dropped = {
      count: count + 1,
      from: new Date(Math.min(at, from.getTime())),
      to: new Date(Math.max(at, to.getTime())),
    };
    return true;
  }

  /** The oldest of a kind that was never sent: what was sent may have arrived, and its number must not be missed. */
  #oldest(kind: OutgoingMessage["kind"]): Kept | undefined {
    for (const kept of this.#kept) {
      if (kept.message.kind === kind && !kept.sent) return kept;
    }
    return undefined;
  }
}
