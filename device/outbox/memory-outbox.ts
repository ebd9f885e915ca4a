import type { DedupKeys, Dropped, Outbox, OutboxEntry, OutgoingMessage } from "./outbox.ts";
import { isState, OVERHEAD_BYTES, withDropped } from "./outbox-index.ts";

export const DEFAULT_OUTBOX_BYTES = 8 * 1024 * 1024;

interface StoredEntry extends OutboxEntry {
  message: OutgoingMessage;
  seq: number | undefined;
  bytes: number;
  inFlight: boolean;
  sent: boolean;
}

interface MemoryOutboxOptions {
  /** Default 8 MiB. Messages in flight may exceed this limit, because they are never dropped. */
  maxBytes?: number;
  /** The disk's failure, if this outbox replaces one on the disk. */
  writeFailure?: string | undefined;
}

/** An {@link Outbox} that ends with the process. It sends messages in the order of `put`, without a backlog. */
export class MemoryOutbox implements Outbox, DedupKeys {
  readonly #maxBytes: number;
  readonly #dedupKeys = new Set<string>();
  /** In the order of `put`. A Set, because acknowledgements remove from anywhere. */
  readonly #entries = new Set<StoredEntry>();
  readonly #states = new Map<string, StoredEntry>();
  #bytes = 0;
  #lastSeq = 0;
  #dropped: Dropped | undefined;
  readonly writeFailure: string | undefined;

  constructor({ maxBytes = DEFAULT_OUTBOX_BYTES, writeFailure }: MemoryOutboxOptions = {}) {
    this.#maxBytes = maxBytes;
    this.writeFailure = writeFailure;
  }

  get size(): number {
    return this.#entries.size;
  }

  get fresh(): number {
    let waiting = 0;
    for (const { inFlight } of this.#entries) if (!inFlight) waiting++;
    return waiting;
  }

  async put(message: OutgoingMessage, dedupKey?: string): Promise<void> {
    if (dedupKey !== undefined) this.#dedupKeys.add(dedupKey);
    const isReplaceable = isState(message.kind);
    const older = isReplaceable ? this.#states.get(message.topic) : undefined;
    if (older !== undefined) this.#remove(older);
    const entry: StoredEntry = {
      message,
      seq: undefined,
      at: message.at,
      historical: false,
      backlog: false,
      bytes: Buffer.byteLength(message.body) + Buffer.byteLength(message.topic) + OVERHEAD_BYTES,
      inFlight: false,
      sent: false,
    };
    this.#entries.add(entry);
    this.#bytes += entry.bytes;
    if (isReplaceable) this.#states.set(message.topic, entry);
    while (this.#bytes > this.#maxBytes && this.#dropOne()) {
      // A large message may displace several small ones.
    }
  }

  connected(): void {}

  take(fits: (entry: OutboxEntry) => boolean = () => true): OutboxEntry | undefined {
    for (const entry of this.#entries) {
      if (entry.inFlight) continue;
      if (!fits(entry)) return undefined;
      entry.inFlight = true;
      entry.sent = true;
      if (this.#states.get(entry.message.topic) === entry) this.#states.delete(entry.message.topic);
      if (typeof entry.message.body === "string") entry.seq ??= ++this.#lastSeq;
      return entry;
    }
    return undefined;
  }

  async acknowledge(entry: OutboxEntry): Promise<void> {
    for (const stored of this.#entries) {
      if (stored === entry) return this.#remove(stored);
      if (!stored.inFlight) return;
    }
  }

  onReady(): void {}

  release(): void {
    for (const entry of this.#entries) entry.inFlight = false;
  }

  /**
   * Always empty: this outbox quarantines nothing, and a message that ends every connection is lost when the process
   * ends.
   */
  takeQuarantined(): readonly string[] {
    return [];
  }

  takeDropped(): Dropped | undefined {
    if (this.#bytes > this.#maxBytes / 2) return undefined;
    const dropped = this.#dropped;
    this.#dropped = undefined;
    return dropped;
  }

  onWriteFailureChange(): void {}

  has(dedupKey: string): boolean {
    return this.#dedupKeys.has(dedupKey);
  }

  async keepOnly(dedupKeys: ReadonlySet<string>): Promise<void> {
    for (const key of this.#dedupKeys) if (!dedupKeys.has(key)) this.#dedupKeys.delete(key);
  }

  async close(): Promise<void> {}

  #remove(entry: StoredEntry): void {
    if (!this.#entries.delete(entry)) return;
    this.#bytes -= entry.bytes;
    if (this.#states.get(entry.message.topic) === entry) this.#states.delete(entry.message.topic);
  }

  #dropOne(): boolean {
    const victim = this.#oldest("preview") ?? this.#oldest("event") ?? this.#oldest("state") ?? this.#oldest("alert");
    if (victim === undefined) return false;
    this.#remove(victim);
    this.#dropped = withDropped(this.#dropped, victim.message.at);
    return true;
  }

  /** The oldest unsent message of a kind. Dropping a sent one may leave a gap in the numbers. */
  #oldest(kind: OutgoingMessage["kind"]): StoredEntry | undefined {
    for (const entry of this.#entries) {
      if (entry.message.kind === kind && !entry.sent) return entry;
    }
    return undefined;
  }
}
