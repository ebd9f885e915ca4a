import type { Logger } from "pino";
import type { DeviceClock, Stamp } from "../host/clock.ts";
import type { Dropped, Marks, Outbox, OutboxEntry, OutgoingMessage } from "./outbox.ts";
import { type Item, OutboxIndex, OVERHEAD_BYTES } from "./outbox-index.ts";
import { Lane, PriorityQueue } from "./priority-queue.ts";
import {
  bodyKey,
  DROPPED_KEY,
  decodeDropped,
  decodeMeta,
  decodeNumber,
  decodeNumbers,
  encodeDropped,
  encodeMeta,
  FREE_SEQS_KEY,
  isMarkKey,
  keyOf,
  LAST_SEQ_KEY,
  type Meta,
  markKey,
  metaKey,
  seqKey,
} from "./rows.ts";
import { type Change, type OutboxStore, openOutboxStore } from "./store.ts";

/** Two days of a picture every 30 s, with its preview. */
export const DEFAULT_DISK_OUTBOX_BYTES = 512 * 1024 * 1024;
export const DEFAULT_OUTBOX_HOURS = 48;
/** Each costs memory too: some 200 bytes. Two days of a picture every 30 s are 17,000. */
export const DEFAULT_OUTBOX_MESSAGES = 50_000;
/** What may wait in memory for a disk that takes no writes; beyond, messages are dropped. Pictures may take half of it. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;
/** On a disk that is full so much of the oldest previews goes at a time, for LevelDB needs some room to go on at all. */
const ROOM_BYTES = 1024 * 1024;
/** A message that was under way when so many connections were ended by the other side is sent alone from then on. */
const CUTS_TO_SUSPECT = 3;
/** One that was alone when so many more were ended is what ends them, and is put aside for a while. */
const CUTS_TO_CONVICT = CUTS_TO_SUSPECT + 5;
const ASIDE_MS = 3_600_000;
/** How long a backlog waits for a clock that is to be set from the network, and how often that is looked at. */
const CLOCK_WAIT_MS = 60_000;
const CLOCK_LOOK_MS = 500;
/** How long a backlog gives way to what is still being written. */
const MAX_YIELD_MS = 1000;
/** What happened longer ago than this when it is said is no news: pictures that another program wrote while we were off. */
const LATE_MS = 600_000;

export interface DiskOutboxOptions {
  /** A folder of its own, made when there is none. */
  path: string;
  /** Default {@link DEFAULT_DISK_OUTBOX_BYTES}. Of what is no picture it takes up to twice as much while it tidies up. */
  maxBytes?: number;
  /** Default {@link DEFAULT_OUTBOX_HOURS}, in milliseconds. */
  maxAgeMs?: number;
  /** Default {@link DEFAULT_OUTBOX_MESSAGES}. */
  maxMessages?: number;
  clock: DeviceClock;
  logger: Logger;
}

/** What is at hand of a message that is ready to be sent. */
interface Content {
  topic: string;
  retain: boolean;
  body: string | Uint8Array;
}

/** A message that is not on the disk yet. */
interface Unwritten {
  content: Content;
  /** What is to be written, of a message that was put while the disk took no writes. The store does not have it yet. */
  held: readonly Change[] | undefined;
  bytes: number;
  kept: () => void;
}

/**
 * Opens the outbox of a camera; one that is damaged is repaired or put aside, as the log then says.
 * @throws {OutboxUnusableError} in use by another process, or the folder cannot be written
 */
export function openDiskOutbox(options: DiskOutboxOptions): Promise<DiskOutbox> {
  return openOutboxStore(options.path, options.logger, async (store) => {
    const outbox = new DiskOutbox(store, options);
    await outbox.load();
    return outbox;
  });
}

/**
 * An {@link Outbox} that outlives `kill -9` and power cuts. A message's number is written before the message is sent
 * for the first time, so that it is the same whenever it is sent again, and the server knows the repetition by it.
 *
 * ```
 *           ┌───────────────── release(): the link is gone ────────────────┐
 *           ▼                                                              │
 *  put ─▶ waiting ─▶ preparing: number written, body read ─▶ ready ─▶ in flight ─PUBACK─▶ deleted
 *           └─ replaced by a newer state, or dropped for want of room
 * ```
 *
 * While the disk takes no writes, what is new is sent from memory, without a number: the server knows its repetitions
 * by the id in its envelope. What is on the disk already waits, for its numbers cannot be written.
 */
export class DiskOutbox implements Outbox, Marks {
  readonly #store: OutboxStore;
  readonly #clock: DeviceClock;
  readonly #logger: Logger;
  readonly #shelf: OutboxIndex;
  readonly #contents = new Map<Item, Content>();
  readonly #inFlight = new Map<OutboxEntry, Item>();
  /** In the order of `put`. */
  readonly #unwritten = new Map<Item, Unwritten>();
  #heldBytes = 0;
  readonly #marks = new Set<string>();
  #aside: string[] = [];
  /** While a link is up; another at every link. */
  #lanes: PriorityQueue | undefined;
  /** When the link came up. */
  #upSince: Stamp | undefined;
  #nextKey = 1;
  /** When a message of the backlog was sent last, or the link came up. */
  #backlogAt = 0;
  #lastSeq = 0;
  /** Ascending. Numbers that were taken back from messages which were never sent: the next ones to be given. */
  #freeSeqs: number[] = [];
  /** The lanes whose messages are being prepared. */
  #preparingFor: PriorityQueue | undefined;
  #listener: () => void = () => {};
  #onTrouble: () => void = () => {};
  #clockWait: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(store: OutboxStore, options: DiskOutboxOptions) {
    const { clock, logger, maxBytes = DEFAULT_DISK_OUTBOX_BYTES, maxMessages = DEFAULT_OUTBOX_MESSAGES } = options;
    this.#store = store;
    this.#clock = clock;
    this.#logger = logger;
    store.onFull(() => this.#makeRoom());
    store.onTrouble(() => this.#troubleChanged());
    const maxAgeMs = options.maxAgeMs ?? DEFAULT_OUTBOX_HOURS * 3_600_000;
    this.#shelf = new OutboxIndex({ maxBytes, maxMessages, maxAgeMs }, clock);
  }

  get size(): number {
    return this.#shelf.size;
  }

  get fresh(): number {
    return this.#unwritten.size + (this.#lanes?.fresh ?? 0);
  }

  /** Reads what an earlier run has left. */
  async load(): Promise<void> {
    const numbers = new Map<number, number>();
    for await (const [row, text] of this.#store.rows("n!")) {
      const [key, seq] = [keyOf(row), decodeNumber(text)];
      if (key !== undefined && seq !== undefined) numbers.set(key, seq);
    }
    const unreadable: Change[] = [];
    for await (const [row, text] of this.#store.rows("m!")) {
      const [key, meta] = [keyOf(row), decodeMeta(text)];
      if (key === undefined || meta === undefined) {
        unreadable.push([row, undefined], [`b!${row.slice(2)}`, undefined]);
        continue;
      }
      const seq = numbers.get(key);
      const item = this.#itemOf(key, meta);
      // With a number it may have been sent, and even have arrived.
      Object.assign(item, { seq, sent: seq !== undefined, durable: true });
      unreadable.push(...this.#shelf.add(item).flatMap(deletions));
      this.#nextKey = key + 1;
    }
    const referred = new Set<string>();
    for (const { key } of this.#shelf.items()) referred.add(bodyKey(key));
    await this.#store.keepLarge((row) => referred.has(row));
    const single = new Map<string, string>();
    for await (const [row, text] of this.#store.rows("x!")) single.set(row, text);
    for await (const [row] of this.#store.rows("k!")) this.#marks.add(row.slice(2));
    const given = new Set(numbers.values());
    this.#lastSeq = Math.max(decodeNumber(single.get(LAST_SEQ_KEY) ?? "") ?? 0, ...given);
    this.#freeSeqs = decodeNumbers(single.get(FREE_SEQS_KEY) ?? "").filter((seq) => !given.has(seq));
    this.#shelf.dropped = decodeDropped(single.get(DROPPED_KEY) ?? "");
    if (unreadable.length > 0) {
      this.#logger.warn({ rows: unreadable.length }, "outbox: unreadable or superseded messages removed");
      this.#store.write(unreadable, () => {});
    }
    if (this.size > 0) this.#logger.info({ messages: this.size }, "outbox holds messages of an earlier run");
  }

  put({ topic, kind, retain, at, body }: OutgoingMessage, mark?: string): Promise<void> {
    if (this.#closed) return Promise.resolve();
    const stamp = this.#clock.stamp(at);
    const binary = typeof body !== "string";
    const bytes = Buffer.byteLength(body) + Buffer.byteLength(topic);
    const { trouble, waitingBytes } = this.#store;
    if (trouble !== undefined && waitingBytes + this.#heldBytes + bytes > waitingRoomFor(kind)) {
      this.#shelf.count(stamp);
      return Promise.resolve();
    }
    const lateMs = this.#clock.now().getTime() - at.getTime();
    const kept = Math.abs(lateMs) > LATE_MS ? this.#clock.stamp() : undefined;
    const meta: Meta = { topic, kind, retain, stamp, kept, binary, bytes };
    const item = this.#itemOf(this.#nextKey++, meta);
    const changes: Change[] = [
      [metaKey(item.key), encodeMeta(meta)],
      [bodyKey(item.key), body],
    ];
    if (mark !== undefined) {
      this.#marks.add(mark);
      changes.push([markKey(mark), ""]);
    }
    changes.push(...this.#gone(this.#shelf.add(item)), ...this.#dropped());
    return new Promise((resolve) => {
      const unwritten = { content: { topic, retain, body }, held: undefined, bytes, kept: resolve };
      this.#unwritten.set(item, unwritten);
      if (trouble === undefined) this.#write(item, unwritten, changes);
      else this.#hold(unwritten, changes);
    });
  }

  #write(item: Item, unwritten: Unwritten, changes: readonly Change[]): void {
    this.#store.write(changes, () => {
      this.#unwritten.delete(item);
      item.durable = true;
      if (!item.gone && item.phase === "waiting")
        this.#lanes?.add(item, freshLane(item.kind, this.#isLate(this.#clock.timeOf(item.stamp))));
      this.#prepare();
      unwritten.kept();
    });
  }

  /** Keeps a message in memory until the disk takes writes again, or the broker has the message. */
  #hold(unwritten: Unwritten, changes: readonly Change[]): void {
    unwritten.held = changes;
    this.#heldBytes += unwritten.bytes;
    this.#listener();
  }

  #troubleChanged(): void {
    if (this.#store.trouble === undefined) {
      for (const [item, unwritten] of this.#unwritten) {
        const { held } = unwritten;
        if (held === undefined) continue;
        unwritten.held = undefined;
        this.#write(item, unwritten, held);
      }
      this.#heldBytes = 0;
    }
    this.#onTrouble();
    this.#listener();
  }

  connected(): void {
    const queue = new PriorityQueue();
    this.#lanes = queue;
    this.#upSince = this.#clock.stamp();
    this.#backlogAt = performance.now();
    const changes: Change[] = this.#dropped();
    for (const item of this.#shelf.items()) {
      if (!item.durable || item.asideUntil > performance.now()) continue;
      const priority = this.#keptLane(item);
      if (priority !== undefined) queue.add(item, priority);
      else {
        this.#shelf.remove(item);
        changes.push(...deletions(item));
      }
    }
    if (changes.length > 0) this.#store.write(changes, () => {});
    this.#waitForClock();
    // A moment later: what is said at once about the present replaces what was kept of it.
    setImmediate(() => this.#prepare());
  }

  take(fits: (entry: OutboxEntry) => boolean = () => true): OutboxEntry | undefined {
    return this.#takeReady(fits) ?? (this.trouble === undefined ? undefined : this.#takeUnwritten(fits));
  }

  #takeReady(fits: (entry: OutboxEntry) => boolean): OutboxEntry | undefined {
    const queue = this.#lanes;
    const held = this.#clockWait !== undefined || (this.fresh > 0 && this.#maySoonYield());
    const item = queue?.first(held ? Lane.preview : Lane.oldPreview);
    const content = item === undefined ? undefined : this.#contents.get(item);
    if (queue === undefined || item === undefined || content === undefined || !this.#mayGo(item)) return undefined;
    const priority = queue.laneOf(item);
    const entry: OutboxEntry = {
      message: { ...content, kind: item.kind },
      seq: item.seq,
      at: this.#clock.timeOf(item.stamp),
      historical: priority === Lane.backlog,
      backlog: priority === Lane.backlog || priority === Lane.oldPreview,
    };
    if (!fits(entry)) return undefined;
    queue.shift(item);
    if (entry.backlog) this.#backlogAt = performance.now();
    this.#contents.delete(item);
    this.#handOut(entry, item);
    this.#prepare();
    return entry;
  }

  /** What the disk does not take is sent from memory: words first, and pictures when there are none. */
  #takeUnwritten(fits: (entry: OutboxEntry) => boolean): OutboxEntry | undefined {
    if (this.#lanes === undefined) return undefined;
    let next: Item | undefined;
    for (const item of this.#unwritten.keys()) {
      if (item.gone || item.phase !== "waiting" || item.asideUntil > performance.now()) continue;
      if (next === undefined || item.kind !== "preview") next = item;
      if (item.kind !== "preview") break;
    }
    const unwritten = next === undefined ? undefined : this.#unwritten.get(next);
    if (next === undefined || unwritten === undefined || !this.#mayGo(next)) return undefined;
    const at = this.#clock.timeOf(next.stamp);
    const late = this.#isLate(at);
    const entry: OutboxEntry = {
      message: { ...unwritten.content, kind: next.kind },
      seq: undefined,
      at,
      historical: late && next.kind === "event",
      backlog: late && (next.kind === "event" || next.kind === "preview"),
    };
    if (!fits(entry)) return undefined;
    this.#handOut(entry, next);
    return entry;
  }

  #handOut(entry: OutboxEntry, item: Item): void {
    item.phase = "inFlight";
    item.sent = true;
    this.#inFlight.set(entry, item);
  }

  get trouble(): string | undefined {
    return this.#store.trouble;
  }

  onTrouble(listener: () => void): void {
    this.#onTrouble = listener;
  }

  onReady(listener: () => void): void {
    this.#listener = listener;
  }

  acknowledge(entry: OutboxEntry): Promise<void> {
    const item = this.#inFlight.get(entry);
    if (item === undefined) return Promise.resolve();
    this.#inFlight.delete(entry);
    this.#shelf.remove(item);
    if (this.#unwritten.has(item)) return this.#acknowledgeUnwritten(item);
    // The broker has all of it, so it has left the socket.
    if (typeof entry.message.body !== "string") this.#store.recycle(entry.message.body);
    return new Promise((resolve) => this.#store.write(deletions(item), resolve));
  }

  /** Its sender need not wait for the disk any longer; what was turned into it is still remembered, once it can be. */
  async #acknowledgeUnwritten(item: Item): Promise<void> {
    const unwritten = this.#unwritten.get(item);
    const marks = unwritten?.held?.filter(([key]) => isMarkKey(key)) ?? [];
    const changes = this.#gone([item]);
    this.#unwritten.delete(item);
    if (marks.length > 0 || changes.length > 0) this.#store.write([...marks, ...changes], () => {});
    unwritten?.kept();
  }

  /** The changes that come of messages which are gone: none of one that the disk never saw. */
  #gone(items: readonly Item[]): Change[] {
    return items.flatMap((item) => {
      const unwritten = this.#unwritten.get(item);
      if (unwritten?.held === undefined) return deletions(item);
      this.#unwritten.delete(item);
      this.#heldBytes -= unwritten.bytes;
      unwritten.kept();
      return [];
    });
  }

  release(byPeer: boolean): void {
    if (this.#lanes === undefined) return;
    if (byPeer) for (const [{ message }, item] of this.#inFlight) this.#suspect(item, message.topic);
    this.#lanes = undefined;
    clearInterval(this.#clockWait);
    this.#clockWait = undefined;
    this.#inFlight.clear();
    this.#contents.clear();
    const changes: Change[] = [];
    for (const item of this.#shelf.items()) {
      item.phase = "waiting";
      if (item.sent || item.seq === undefined) continue;
      // So that a link which flaps does not number the whole backlog, which could then neither be replaced nor dropped.
      this.#freeSeqs.push(item.seq);
      item.seq = undefined;
      changes.push([seqKey(item.key), undefined]);
    }
    if (changes.length === 0) return;
    this.#freeSeqs.sort((a, b) => a - b);
    changes.push([FREE_SEQS_KEY, JSON.stringify(this.#freeSeqs)]);
    this.#store.write(changes, () => {});
  }

  takeAside(): readonly string[] {
    return this.#aside.splice(0);
  }

  takeDropped(): Dropped | undefined {
    const { dropped, crowded } = this.#shelf;
    if (dropped === undefined || crowded) return undefined;
    this.#shelf.dropped = undefined;
    // The report follows at once, and with it in the same write.
    this.#store.write([[DROPPED_KEY, undefined]], () => {});
    return dropped;
  }

  has(mark: string): boolean {
    return this.#marks.has(mark);
  }

  keepOnly(marks: ReadonlySet<string>): Promise<void> {
    const changes: Change[] = [];
    for (const mark of this.#marks) {
      if (marks.has(mark)) continue;
      this.#marks.delete(mark);
      changes.push([markKey(mark), undefined]);
    }
    return new Promise((resolve) => this.#store.write(changes, resolve));
  }

  async close(): Promise<void> {
    this.release(false);
    // Should the disk take writes again in this last moment.
    for (const [item, unwritten] of this.#unwritten)
      if (unwritten.held !== undefined) this.#write(item, unwritten, unwritten.held);
    this.#closed = true;
    await this.#store.close();
  }

  /** What happened before the link came up is no news, whenever it is found: pictures that another program wrote meanwhile. */
  #isLate(at: Date): boolean {
    const upAt = this.#upSince === undefined ? at : this.#clock.timeOf(this.#upSince);
    return at < upAt || this.#clock.now().getTime() - at.getTime() > LATE_MS;
  }

  #itemOf(key: number, { kind, topic, stamp, kept = stamp, bytes, binary }: Meta): Item {
    const named = kind === "state" || kind === "alert";
    const room = bytes + OVERHEAD_BYTES;
    const state = { seq: undefined, sent: false, durable: false, phase: "waiting", gone: false } as const;
    return { key, kind, topic: named ? topic : "", stamp, kept, bytes: room, binary, ...state, cuts: 0, asideUntil: 0 };
  }

  /** A suspect goes alone, so that the next cut says whether it was the cause. */
  #mayGo(item: Item): boolean {
    if (this.#inFlight.size === 0) return true;
    return item.cuts < CUTS_TO_SUSPECT && ![...this.#inFlight.values()].some(({ cuts }) => cuts >= CUTS_TO_SUSPECT);
  }

  #suspect(item: Item, topic: string): void {
    item.cuts++;
    if (item.cuts < CUTS_TO_CONVICT) return;
    item.cuts = CUTS_TO_SUSPECT;
    item.asideUntil = performance.now() + ASIDE_MS;
    this.#aside.push(topic);
  }

  /** Makes room; the changes that come of it. */
  #dropped(): Change[] {
    const victims = [...this.#shelf.dropAged(), ...this.#shelf.dropExcess()];
    if (victims.length === 0 || this.#shelf.dropped === undefined) return [];
    return [...this.#gone(victims), [DROPPED_KEY, encodeDropped(this.#shelf.dropped)]];
  }

  /** The outbox itself must not be what a full disk is full of: nothing could be sent any more, and so nothing leave it. */
  #makeRoom(): string[] {
    const victims = this.#shelf.dropPreviews(ROOM_BYTES);
    if (victims.length === 0 || this.#shelf.dropped === undefined) return [];
    this.#logger.warn({ previews: victims.length }, "the disk is full: the oldest previews are dropped");
    this.#store.write([...victims.flatMap(deletions), [DROPPED_KEY, encodeDropped(this.#shelf.dropped)]], () => {});
    return victims.map(({ key }) => bodyKey(key));
  }

  /** Where a message belongs that was kept before the link came up; undefined for one that says nothing any more. */
  #keptLane(item: Item): Lane | undefined {
    switch (item.kind) {
      case "state":
      case "alert":
        if (this.#shelf.isNewest(item)) return item.kind === "state" ? Lane.state : Lane.alert;
        return item.seq === undefined ? undefined : Lane.backlog;
      case "preview":
        return Lane.oldPreview;
      case "event":
        return Lane.backlog;
      case "reply":
      case "report":
        return Lane.reply;
    }
  }

  /** Gives those whose turn comes next their numbers, and fetches what they say. */
  #prepare(): void {
    const queue = this.#lanes;
    if (queue !== undefined && queue !== this.#preparingFor) void this.#prepareAll(queue);
  }

  /** One group after the other: two reads at once may end in any order, and messages must not. */
  async #prepareAll(queue: PriorityQueue): Promise<void> {
    this.#preparingFor = queue;
    for (let items = this.#next(queue); items.length > 0; items = this.#next(queue)) {
      for (const item of items) item.phase = "preparing";
      await this.#prepareItems(queue, items);
      // The link is gone, and with it these lanes: the items are waiting again.
      if (queue !== this.#lanes) return;
    }
    this.#preparingFor = undefined;
  }

  #next(queue: PriorityQueue): Item[] {
    return queue.toPrepare(this.#unwritten.size > 0 && this.#maySoonYield() ? Lane.preview : Lane.oldPreview);
  }

  /**
   * What is new and still being written goes before what is old and ready, and gets its number first: numbers are to
   * count what is sent in that order. But a camera that never stops to speak must not keep its backlog for ever.
   */
  #maySoonYield(): boolean {
    return performance.now() - this.#backlogAt < MAX_YIELD_MS;
  }

  async #prepareItems(queue: PriorityQueue, items: readonly Item[]): Promise<void> {
    const rows = await this.#store.read(items.flatMap(({ key }) => [metaKey(key), bodyKey(key)]));
    if (queue !== this.#lanes) return;
    const changes: Change[] = [];
    const usable: Item[] = [];
    for (const [index, item] of items.entries()) {
      const content = contentOf(rows[2 * index], rows[2 * index + 1]);
      if (content === undefined) {
        this.#logger.error({ kind: item.kind }, "outbox: a message is unreadable and dropped");
        this.#shelf.remove(item);
        this.#shelf.count(item.stamp);
        queue.prepared(item, false);
        changes.push(...deletions(item));
        continue;
      }
      // One that was sent from memory went without a number, and keeps to that.
      if (!item.binary && item.seq === undefined && !item.sent) {
        item.seq = this.#freeSeqs.shift() ?? ++this.#lastSeq;
        changes.push([seqKey(item.key), String(item.seq)]);
      }
      this.#contents.set(item, content);
      usable.push(item);
    }
    if (changes.length > 0)
      changes.push([LAST_SEQ_KEY, String(this.#lastSeq)], [FREE_SEQS_KEY, JSON.stringify(this.#freeSeqs)]);
    this.#store.write(changes, () => {
      if (queue !== this.#lanes) return;
      for (const item of usable) {
        item.phase = "ready";
        queue.prepared(item, true);
      }
      this.#listener();
    });
  }

  /** A backlog from before the clock was set goes out with the right times, if the clock is set soon. */
  #waitForClock(): void {
    clearInterval(this.#clockWait);
    this.#clockWait = undefined;
    if (this.#clock.usable) return;
    const until = performance.now() + CLOCK_WAIT_MS;
    this.#clockWait = setInterval(() => {
      if (!this.#clock.usable && performance.now() < until) return;
      clearInterval(this.#clockWait);
      this.#clockWait = undefined;
      this.#listener();
    }, CLOCK_LOOK_MS);
  }
}

function waitingRoomFor(kind: OutgoingMessage["kind"]): number {
  // Reports are few and short, and say what else had to go.
  if (kind === "report") return Number.POSITIVE_INFINITY;
  return kind === "preview" ? MAX_WAITING_BYTES / 2 : MAX_WAITING_BYTES;
}

function freshLane(kind: Item["kind"], late: boolean): Lane {
  switch (kind) {
    case "state":
      return Lane.state;
    case "alert":
      return Lane.alert;
    case "reply":
    case "report":
      return Lane.reply;
    case "event":
      return late ? Lane.backlog : Lane.event;
    case "preview":
      return late ? Lane.oldPreview : Lane.preview;
  }
}

function contentOf(metaRow: Uint8Array | undefined, body: Uint8Array | undefined): Content | undefined {
  const meta = metaRow === undefined ? undefined : decodeMeta(Buffer.from(metaRow).toString());
  if (meta === undefined || body === undefined) return undefined;
  const { topic, retain, binary, bytes } = meta;
  // Half a picture is none.
  if (binary && body.length + Buffer.byteLength(topic) !== bytes) return undefined;
  return { topic, retain, body: binary ? body : Buffer.from(body).toString() };
}

function deletions({ key }: Item): Change[] {
  return [
    [metaKey(key), undefined],
    [bodyKey(key), undefined],
    [seqKey(key), undefined],
  ];
}
