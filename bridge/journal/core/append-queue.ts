import { StoreUnavailableError } from "../../../platform/errors.ts";
import type { Appended, JournalMessage, MessageOrigin } from "../journal.ts";
import type { JournalLimits } from "./limits.ts";

export interface Waiter {
  resolve(appended: Appended): void;
  reject(error: unknown): void;
}

/** An append that is not durable yet. `Key` identifies its message among repetitions. */
export interface WaitingAppend<Key> extends Waiter {
  readonly message: JournalMessage;
  readonly dedupKey: Key | undefined;
  /** The size by which the limits on bytes are checked. */
  readonly cost: number;
  /** Later appends of the same message. They resolve as duplicates, or fail, together with this one. */
  repetitions: Waiter[] | undefined;
  /** Whether it has its result. A store may settle an append twice: the second time changes nothing. */
  isSettled: boolean;
}

const DUPLICATE: Appended = { position: undefined, duplicate: true };

interface AppendQueueOptions<Key> {
  limits: JournalLimits;
  /** Named in errors. */
  store: "the disk" | "Redis";
  /** Undefined: the message is never a duplicate. */
  dedupKeyOf(origin: MessageOrigin): Key | undefined;
  /** An earlier copy of the message in memory: `durable`, or the append that waits. */
  find(dedupKey: Key): "durable" | WaitingAppend<Key> | undefined;
  /** Notes an append that waits. */
  wait(dedupKey: Key, waiting: WaitingAppend<Key>): void;
  /** Writes the messages, and settles each append, perhaps later. Never rejects. */
  write(messages: WaitingAppend<Key>[]): Promise<void>;
  /** Whether {@link write} is wanted without messages. Default: never. */
  hasMore?(): boolean;
}

/**
 * The appends without a result, in the order of the calls. Appends that arrive during a write share the next write: on a
 * slow store the writes get larger. Writes never overlap, so the order of appends is the order of positions.
 */
export class AppendQueue<Key> {
  readonly #options: AppendQueueOptions<Key>;
  /** Appends for the next writes. */
  #waiting: WaitingAppend<Key>[] = [];
  /** The number of appends without a result, including the current write and repetitions. */
  #entries = 0;
  #bytes = 0;
  #isWriting = false;
  #idle: (() => void)[] = [];

  constructor(options: AppendQueueOptions<Key>) {
    this.#options = options;
  }

  /** @throws {StoreUnavailableError} too many appends wait */
  append(message: JournalMessage, resolve: Waiter["resolve"], reject: Waiter["reject"]): void {
    this.#assertRoom();
    const dedupKey = this.#options.dedupKeyOf(message.origin);
    const found = dedupKey === undefined ? undefined : this.#options.find(dedupKey);
    if (found === "durable") resolve(DUPLICATE);
    else if (found !== undefined) this.#addRepetition(found, resolve, reject);
    else {
      const waiting = this.#add(message, dedupKey, resolve, reject);
      if (dedupKey !== undefined) this.#options.wait(dedupKey, waiting);
      this.wake();
    }
  }

  /** Begins to write, unless a write is under way. */
  wake(): void {
    if (!this.#isWriting) void this.#writeAll();
  }

  /** Resolves when nothing is written and each append has its result. */
  async idle(): Promise<void> {
    while (this.#isWriting || this.#entries > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** Resolves the appends of durable messages. @param base the position before the first one */
  accept(messages: readonly WaitingAppend<Key>[], base: number): void {
    let position = base;
    for (const waiting of messages) this.#resolve(waiting, { position: ++position, duplicate: false });
    this.#settle();
  }

  /** Resolves an append whose message is in the journal already. */
  acceptDuplicate(waiting: WaitingAppend<Key>): void {
    this.#resolve(waiting, DUPLICATE);
  }

  async #writeAll(): Promise<void> {
    this.#isWriting = true;
    do {
      // Appends of the same turn of the event loop join this write.
      await new Promise((resolve) => setImmediate(resolve));
      await this.#options.write(this.#take());
    } while (this.#waiting.length > 0 || this.#options.hasMore?.() === true);
    this.#isWriting = false;
    this.#settle();
  }

  #settle(): void {
    if (!this.#isWriting && this.#entries === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** @throws {StoreUnavailableError} too many appends wait */
  #assertRoom(): void {
    const { limits, store } = this.#options;
    const { maxWaitingEntries, maxWaitingBytes } = limits;
    if (this.#entries < maxWaitingEntries && this.#bytes < maxWaitingBytes) return;
    throw new StoreUnavailableError(
      `${this.#entries} messages already wait for ${store}: ${store} is too slow for them`,
    );
  }

  #add(
    message: JournalMessage,
    dedupKey: Key | undefined,
    resolve: Waiter["resolve"],
    reject: Waiter["reject"],
  ): WaitingAppend<Key> {
    const cost = message.topic.length + message.body.length + (message.publish?.payload.byteLength ?? 0);
    const waiting = { message, dedupKey, cost, resolve, reject, repetitions: undefined, isSettled: false };
    this.#entries++;
    this.#bytes += cost;
    this.#waiting.push(waiting);
    return waiting;
  }

  #addRepetition(of: WaitingAppend<Key>, resolve: Waiter["resolve"], reject: Waiter["reject"]): void {
    this.#entries++;
    of.repetitions ??= [];
    of.repetitions.push({ resolve, reject });
  }

  #take(): WaitingAppend<Key>[] {
    const { maxGroupEntries, maxGroupBytes } = this.#options.limits;
    let bytes = 0;
    let count = 0;
    for (const { cost } of this.#waiting) {
      bytes += cost;
      if (count > 0 && (count >= maxGroupEntries || bytes > maxGroupBytes)) break;
      count++;
    }
    if (count < this.#waiting.length) return this.#waiting.splice(0, count);
    const all = this.#waiting;
    this.#waiting = [];
    return all;
  }

  reject(waiting: WaitingAppend<Key>, error: unknown): void {
    if (!this.#release(waiting)) return;
    waiting.reject(error);
    for (const repetition of waiting.repetitions ?? []) repetition.reject(error);
    this.#settle();
  }

  #resolve(waiting: WaitingAppend<Key>, appended: Appended): void {
    if (!this.#release(waiting)) return;
    waiting.resolve(appended);
    if (waiting.repetitions === undefined) return;
    for (const repetition of waiting.repetitions) repetition.resolve(DUPLICATE);
  }

  /** @returns false if the append has its result already */
  #release(waiting: WaitingAppend<Key>): boolean {
    if (waiting.isSettled) return false;
    waiting.isSettled = true;
    this.#bytes -= waiting.cost;
    this.#entries -= 1 + (waiting.repetitions?.length ?? 0);
    return true;
  }
}
