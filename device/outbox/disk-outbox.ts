import type { Logger } from "pino";
import type { DeviceClock, Stamp } from "../host/clock.ts";
import { ClockWait } from "./clock-wait.ts";
import { InFlight } from "./in-flight.ts";
import { loadOutbox } from "./load-outbox.ts";
import { openOutboxStore } from "./open-store.ts";
import type { DedupKeys, Dropped, Outbox, OutboxEntry, OutgoingMessage } from "./outbox.ts";
import { Item, OutboxIndex } from "./outbox-index.ts";
import { Preparation } from "./preparation.ts";
import { Priority, PriorityQueue, priorityOfNew, priorityOfStored } from "./priority-queue.ts";
import { bodyKey, DROPPED_KEY, dedupKeyRow, deletionsOf, encodeDropped, type Meta, metaKey, seqKey } from "./rows.ts";
import { SequenceNumbers } from "./sequence-numbers.ts";
import type { Change, OutboxStore } from "./store.ts";
import { UnwrittenMessages } from "./unwritten-messages.ts";

/** Holds two days of a picture every 30 s, each with a preview. */
export const DEFAULT_DISK_OUTBOX_BYTES = 512 * 1024 * 1024;
export const DEFAULT_OUTBOX_HOURS = 48;
/** Each message costs about 200 bytes of memory. Two days of a picture every 30 s are 17,000 messages. */
const DEFAULT_OUTBOX_MESSAGES = 50_000;
/** Bytes of previews that are dropped at a time on a full disk. LevelDB needs free space to work at all. */
const FULL_DISK_DROP_BYTES = 1024 * 1024;
/** How long the backlog waits for new messages that are being written. */
const MAX_YIELD_MS = 1000;
/** A message is late if its event is older than this: for example, a picture of another program. */
const LATE_MS = 600_000;

export interface DiskOutboxOptions {
  path: string;
  /** Default {@link DEFAULT_DISK_OUTBOX_BYTES}. While LevelDB compacts, it may need twice as much. */
  maxBytes?: number;
  /** Default {@link DEFAULT_OUTBOX_HOURS}, in milliseconds. */
  maxAgeMs?: number;
  /** Default {@link DEFAULT_OUTBOX_MESSAGES}. */
  maxMessages?: number;
  clock: DeviceClock;
  logger: Logger;
}

/** Repairs a damaged outbox, or moves it aside and starts with an empty one. @throws {OutboxUnusableError} */
export function openDiskOutbox(options: DiskOutboxOptions): Promise<DiskOutbox> {
  return openOutboxStore(options.path, options.logger, async (store) => {
    const outbox = new DiskOutbox(store, options);
    await outbox.load();
    return outbox;
  });
}

/**
 * An {@link Outbox} that survives `kill -9` and power cuts. A message's number is written before the message is sent for
 * the first time. The message has the same number whenever it is sent again, so the server recognises the duplicate.
 *
 * ```
 *           ┌────────────────── release(): the link is down ────────────────┐
 *           ▼                                                              │
 *  put ─▶ waiting ─▶ preparing: number written, body read ─▶ ready ─▶ in flight ─PUBACK─▶ deleted
 *           └─ replaced by a newer state, or dropped
 * ```
 *
 * While the disk cannot be written, new messages are sent from memory without a number: the server recognises their
 * duplicates by the id in the envelope. Messages on the disk wait, because their numbers cannot be written.
 */
export class DiskOutbox implements Outbox, DedupKeys {
  readonly #store: OutboxStore;
  readonly #clock: DeviceClock;
  readonly #logger: Logger;
  readonly #index: OutboxIndex;
  readonly #numbers = new SequenceNumbers();
  readonly #unwritten: UnwrittenMessages;
  readonly #preparation: Preparation;
  readonly #inFlight = new InFlight();
  readonly #clockWait: ClockWait;
  readonly #dedupKeys = new Set<string>();
  #queue: PriorityQueue | undefined;
  #upSince: Stamp | undefined;
  #nextKey = 1;
  /** When the last message of the backlog was sent; before that, when the link came up. */
  #lastBacklogAt = 0;
  #onReady: () => void = () => {};
  #onWriteFailureChange: () => void = () => {};
  #closed = false;

  constructor(store: OutboxStore, options: DiskOutboxOptions) {
    const { clock, logger, maxBytes = DEFAULT_DISK_OUTBOX_BYTES, maxMessages = DEFAULT_OUTBOX_MESSAGES } = options;
    this.#store = store;
    this.#clock = clock;
    this.#logger = logger;
    const maxAgeMs = options.maxAgeMs ?? DEFAULT_OUTBOX_HOURS * 3_600_000;
    this.#index = new OutboxIndex({ maxBytes, maxMessages, maxAgeMs }, clock);
    this.#clockWait = new ClockWait(clock);
    this.#unwritten = new UnwrittenMessages(store, (item) => this.#written(item));
    this.#preparation = new Preparation({
      store,
      index: this.#index,
      numbers: this.#numbers,
      lowestPriority: () => (this.#unwritten.size > 0 && this.#mayYield() ? Priority.preview : Priority.oldPreview),
      onReady: () => this.#onReady(),
      logger,
    });
    store.onFull(() => this.#dropPreviews());
    store.onFailureChange(() => this.#failureChanged());
  }

  get size(): number {
    return this.#index.size;
  }

  get fresh(): number {
    return this.#unwritten.size + (this.#queue?.fresh ?? 0);
  }

  get writeFailure(): string | undefined {
    return this.#store.failure;
  }

  onWriteFailureChange(listener: () => void): void {
    this.#onWriteFailureChange = listener;
  }

  onReady(listener: () => void): void {
    this.#onReady = listener;
  }

  async load(): Promise<void> {
    const loaded = { index: this.#index, numbers: this.#numbers, dedupKeys: this.#dedupKeys };
    this.#nextKey = await loadOutbox(this.#store, loaded, this.#logger);
  }

  async put({ topic, kind, retain, at, body }: OutgoingMessage, dedupKey?: string): Promise<void> {
    if (this.#closed) return;
    const stamp = this.#clock.stamp(at);
    const binary = typeof body !== "string";
    const bytes = Buffer.byteLength(body) + Buffer.byteLength(topic);
    const isFailing = this.writeFailure !== undefined;
    if (isFailing && !this.#unwritten.hasRoomFor(kind, bytes)) {
      this.#index.countDropped(stamp);
      return;
    }
    const isLate = Math.abs(this.#clock.now().getTime() - at.getTime()) > LATE_MS;
    const meta: Meta = { topic, kind, retain, stamp, kept: isLate ? this.#clock.stamp() : undefined, binary, bytes };
    const item = new Item(this.#nextKey++, meta);
    const changes: Change[] = [
      [metaKey(item.key), JSON.stringify(meta)],
      [bodyKey(item.key), body],
    ];
    if (dedupKey !== undefined) {
      this.#dedupKeys.add(dedupKey);
      changes.push([dedupKeyRow(dedupKey), ""]);
    }
    changes.push(...this.#unwritten.discard(this.#index.add(item)), ...this.#applyLimits());
    const stored = this.#unwritten.add(item, { topic, retain, body }, bytes, changes);
    if (isFailing) this.#onReady();
    await stored;
  }

  connected(): void {
    const queue = new PriorityQueue();
    this.#queue = queue;
    this.#preparation.start(queue);
    this.#upSince = this.#clock.stamp();
    this.#lastBacklogAt = performance.now();
    const changes: Change[] = this.#applyLimits();
    for (const item of this.#index.items()) {
      if (!item.durable || item.quarantinedUntil > performance.now()) continue;
      const priority = priorityOfStored(item, this.#index.isNewest(item));
      if (priority !== undefined) queue.add(item, priority);
      else {
        this.#index.remove(item);
        changes.push(...deletionsOf(item.key));
      }
    }
    if (changes.length > 0) this.#store.write(changes, () => {});
    this.#clockWait.start(() => this.#onReady());
    // Preparation starts later, so that the states published at the birth can first replace the stored states.
    setImmediate(() => this.#preparation.run());
  }

  take(fits: (entry: OutboxEntry) => boolean = () => true): OutboxEntry | undefined {
    return this.#takeReady(fits) ?? (this.writeFailure === undefined ? undefined : this.#takeUnwritten(fits));
  }

  #takeReady(fits: (entry: OutboxEntry) => boolean): OutboxEntry | undefined {
    const queue = this.#queue;
    const backlogWaits = this.#clockWait.isWaiting || (this.fresh > 0 && this.#mayYield());
    const item = queue?.first(backlogWaits ? Priority.preview : Priority.oldPreview);
    const content = item === undefined ? undefined : this.#preparation.contentOf(item);
    if (queue === undefined || item === undefined || content === undefined) return undefined;
    if (!this.#inFlight.admits(item)) return undefined;
    const priority = queue.priorityOf(item);
    const entry: OutboxEntry = {
      message: { ...content, kind: item.kind },
      seq: item.seq,
      at: this.#clock.timeOf(item.stamp),
      historical: priority === Priority.backlog,
      backlog: priority === Priority.backlog || priority === Priority.oldPreview,
    };
    if (!fits(entry)) return undefined;
    queue.shift(item);
    if (entry.backlog) this.#lastBacklogAt = performance.now();
    this.#preparation.release(item);
    this.#inFlight.add(entry, item);
    this.#preparation.run();
    return entry;
  }

  #takeUnwritten(fits: (entry: OutboxEntry) => boolean): OutboxEntry | undefined {
    if (this.#queue === undefined) return undefined;
    const item = this.#unwritten.next();
    const content = item === undefined ? undefined : this.#unwritten.contentOf(item);
    if (item === undefined || content === undefined || !this.#inFlight.admits(item)) return undefined;
    const at = this.#clock.timeOf(item.stamp);
    const isLate = this.#isLate(at);
    const entry: OutboxEntry = {
      message: { ...content, kind: item.kind },
      seq: undefined,
      at,
      historical: isLate && item.kind === "event",
      backlog: isLate && (item.kind === "event" || item.kind === "preview"),
    };
    if (!fits(entry)) return undefined;
    this.#inFlight.add(entry, item);
    return entry;
  }

  async acknowledge(entry: OutboxEntry): Promise<void> {
    const item = this.#inFlight.remove(entry);
    if (item === undefined) return;
    this.#index.remove(item);
    if (this.#unwritten.has(item)) return this.#unwritten.acknowledge(item);
    // The broker has received the whole body, so its buffer may be reused.
    if (typeof entry.message.body !== "string") this.#store.recycle(entry.message.body);
    await new Promise<void>((resolve) => this.#store.write(deletionsOf(item.key), resolve));
  }

  release(byPeer: boolean): void {
    if (this.#queue === undefined) return;
    this.#queue = undefined;
    this.#preparation.stop();
    this.#clockWait.stop();
    this.#inFlight.clear(byPeer);
    const changes: Change[] = [];
    const givenBack: number[] = [];
    for (const item of this.#index.items()) {
      item.phase = "waiting";
      if (item.sent || item.seq === undefined) continue;
      // Take back the numbers of messages that were not sent. A numbered message can be neither replaced nor dropped,
      // so a flapping link must not number the whole backlog.
      givenBack.push(item.seq);
      item.seq = undefined;
      changes.push([seqKey(item.key), undefined]);
    }
    if (changes.length > 0) this.#store.write([...changes, this.#numbers.giveBack(givenBack)], () => {});
  }

  takeQuarantined(): readonly string[] {
    return this.#inFlight.takeQuarantined();
  }

  takeDropped(): Dropped | undefined {
    const { dropped, isCrowded } = this.#index;
    if (dropped === undefined || isCrowded) return undefined;
    this.#index.dropped = undefined;
    // The caller must call `put` with its report in the same tick, so that one write contains the report and this
    // deletion.
    this.#store.write([[DROPPED_KEY, undefined]], () => {});
    return dropped;
  }

  has(dedupKey: string): boolean {
    return this.#dedupKeys.has(dedupKey);
  }

  keepOnly(dedupKeys: ReadonlySet<string>): Promise<void> {
    const changes: Change[] = [];
    for (const key of this.#dedupKeys) {
      if (dedupKeys.has(key)) continue;
      this.#dedupKeys.delete(key);
      changes.push([dedupKeyRow(key), undefined]);
    }
    return new Promise((resolve) => this.#store.write(changes, resolve));
  }

  async close(): Promise<void> {
    this.release(false);
    // The disk may accept writes again.
    this.#unwritten.writeHeld();
    this.#closed = true;
    await this.#store.close();
  }

  #written(item: Item): void {
    if (!item.removed && item.phase === "waiting")
      this.#queue?.add(item, priorityOfNew(item.kind, this.#isLate(this.#clock.timeOf(item.stamp))));
    this.#preparation.run();
  }

  #failureChanged(): void {
    if (this.writeFailure === undefined) this.#unwritten.writeHeld();
    this.#onWriteFailureChange();
    this.#onReady();
  }

  /** Whether the event happened before the link came up, or long ago. */
  #isLate(at: Date): boolean {
    const upAt = this.#upSince === undefined ? at : this.#clock.timeOf(this.#upSince);
    return at < upAt || this.#clock.now().getTime() - at.getTime() > LATE_MS;
  }

  /**
   * Whether the backlog still waits for new messages that are being written. New messages are sent first, and numbers
   * follow the order of sending. The wait is limited: a camera that sends without pause must not block its backlog for
   * ever.
   */
  #mayYield(): boolean {
    return performance.now() - this.#lastBacklogAt < MAX_YIELD_MS;
  }

  /** Drops messages that are too old or too many. @returns the changes to write */
  #applyLimits(): Change[] {
    const victims = [...this.#index.dropAged(), ...this.#index.dropExcess()];
    if (victims.length === 0 || this.#index.dropped === undefined) return [];
    return [...this.#unwritten.discard(victims), [DROPPED_KEY, encodeDropped(this.#index.dropped)]];
  }

  /** Frees space, because a full disk stops all writing, and so all sending. */
  #dropPreviews(): string[] {
    const victims = this.#index.dropPreviews(FULL_DISK_DROP_BYTES);
    if (victims.length === 0 || this.#index.dropped === undefined) return [];
    this.#logger.warn({ previews: victims.length }, "disk full, oldest previews dropped");
    const deletions = victims.flatMap(({ key }) => deletionsOf(key));
    this.#store.write([...deletions, [DROPPED_KEY, encodeDropped(this.#index.dropped)]], () => {});
    return victims.map(({ key }) => bodyKey(key));
  }
}
