import type { Dropped, Outbox, OutboxEntry, OutgoingMessage } from "./outbox.ts";

/** Bytes that a kept message costs besides its topic and body: an estimate, so that many tiny ones are bounded too. */
const OVERHEAD_BYTES = 256;

export const DEFAULT_OUTBOX_BYTES = 8 * 1024 * 1024;

interface Kept extends OutboxEntry {
  message: OutgoingMessage;
  seq: number | undefined;
  bytes: number;
  inFlight: boolean;
  sent: boolean;
}

interface MemoryOutboxOptions {
  maxBytes?: number;
  onMark?: (mark: string) => void;
  /** Why there is no disk below it, where there should be one. Default: there should be none. */
  trouble?: string;
}

/** An {@link Outbox} that a power cut empties, and that sends everything in the order in which it was said, as it was said. */
export class MemoryOutbox implements Outbox {
  readonly #maxBytes: number;
  readonly #onMark: (mark: string) => void;
  /** In the order of `put`; a Set, because acknowledgements remove from anywhere. */
  readonly #kept = new Set<Kept>();
  /** The state that waits, by topic. */
  readonly #states = new Map<string, Kept>();
  #bytes = 0;
  #lastSeq = 0;
  #dropped: Dropped | undefined;
  readonly trouble: string | undefined;

  /**
   * @param options.maxBytes Default 8 MiB. What is in flight is never dropped, so the window comes on top.
   * @param options.onMark told of every mark. Default: nobody is.
   */
  constructor({ maxBytes = DEFAULT_OUTBOX_BYTES, onMark = () => {}, trouble }: MemoryOutboxOptions = {}) {
    this.#maxBytes = maxBytes;
    this.#onMark = onMark;
    this.trouble = trouble;
  }

  get size(): number {
    return this.#kept.size;
  }

  get fresh(): number {
    let waiting = 0;
    for (const { inFlight } of this.#kept) if (!inFlight) waiting++;
    return waiting;
  }

  async put(message: OutgoingMessage, mark?: string): Promise<void> {
    if (mark !== undefined) this.#onMark(mark);
    const older = isState(message) ? this.#states.get(message.topic) : undefined;
    if (older !== undefined) this.#remove(older);
    const bytes = Buffer.byteLength(message.body) + Buffer.byteLength(message.topic) + OVERHEAD_BYTES;
    const late = { historical: false, backlog: false };
    const kept: Kept = { message, seq: undefined, at: message.at, ...late, bytes, inFlight: false, sent: false };
    this.#kept.add(kept);
    this.#bytes += bytes;
    if (isState(message)) this.#states.set(message.topic, kept);
    while (this.#bytes > this.#maxBytes && this.#dropOne()) {
      // One message may need the room of several.
    }
  }

  connected(): void {}

  take(fits: (entry: OutboxEntry) => boolean = () => true): OutboxEntry | undefined {
    for (const kept of this.#kept) {
      if (kept.inFlight) continue;
      if (!fits(kept)) return undefined;
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

  /** Everything can be taken as soon as it is put. */
  onReady(): void {}

  release(): void {
    for (const kept of this.#kept) kept.inFlight = false;
  }

  /** Never: what ends every connection is gone with the next start. */
  takeAside(): readonly string[] {
    return [];
  }

  takeDropped(): Dropped | undefined {
    if (this.#bytes > this.#maxBytes / 2) return undefined;
    const dropped = this.#dropped;
    this.#dropped = undefined;
    return dropped;
  }

  /** Its trouble, if it has any, stays until the next start. */
  onTrouble(): void {}

  async close(): Promise<void> {}

  #remove(kept: Kept): void {
    if (!this.#kept.delete(kept)) return;
    this.#bytes -= kept.bytes;
    if (this.#states.get(kept.message.topic) === kept) this.#states.delete(kept.message.topic);
  }

  /** False when nothing may go. */
  #dropOne(): boolean {
    const victim = this.#oldest("preview") ?? this.#oldest("event") ?? this.#oldest("state") ?? this.#oldest("alert");
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

/** What a newer message of the same topic replaces. */
function isState({ kind }: OutgoingMessage): boolean {
  return kind === "state" || kind === "alert";
}
