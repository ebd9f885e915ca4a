import { StoreUnavailableError } from "../../../platform/errors.ts";
import type { Appended, JournalMessage } from "../journal.ts";
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
}

export const DUPLICATE: Appended = { position: undefined, duplicate: true };

/** The appends without a result, in the order of the calls. */
export class AppendQueue<Key> {
  readonly #limits: JournalLimits;
  readonly #store: "the disk" | "Redis";
  /** Appends for the next writes. */
  #waiting: WaitingAppend<Key>[] = [];
  /** The number of appends without a result, including the current write and repetitions. */
  #entries = 0;
  #bytes = 0;

  /** @param store named in errors */
  constructor(limits: JournalLimits, store: "the disk" | "Redis") {
    this.#limits = limits;
    this.#store = store;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** @throws {StoreUnavailableError} too many appends wait */
  assertRoom(): void {
    const { maxWaitingEntries, maxWaitingBytes } = this.#limits;
    if (this.#entries < maxWaitingEntries && this.#bytes < maxWaitingBytes) return;
    const [count, store] = [this.#entries, this.#store];
    throw new StoreUnavailableError(`${count} messages already wait for ${store}: ${store} is too slow for them`);
  }

  add(
    message: JournalMessage,
    dedupKey: Key | undefined,
    resolve: Waiter["resolve"],
    reject: Waiter["reject"],
  ): WaitingAppend<Key> {
    const cost = message.topic.length + message.body.length + (message.publish?.payload.byteLength ?? 0);
    const waiting: WaitingAppend<Key> = { message, dedupKey, cost, resolve, reject, repetitions: undefined };
    this.#entries++;
    this.#bytes += cost;
    this.#waiting.push(waiting);
    return waiting;
  }

  addRepetition(of: WaitingAppend<Key>, resolve: Waiter["resolve"], reject: Waiter["reject"]): void {
    this.#entries++;
    of.repetitions ??= [];
    of.repetitions.push({ resolve, reject });
  }

  take(): WaitingAppend<Key>[] {
    const { maxGroupEntries, maxGroupBytes } = this.#limits;
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

  resolve(waiting: WaitingAppend<Key>, appended: Appended): void {
    this.#release(waiting);
    waiting.resolve(appended);
    if (waiting.repetitions === undefined) return;
    for (const repetition of waiting.repetitions) repetition.resolve(DUPLICATE);
  }

  reject(waiting: WaitingAppend<Key>, error: unknown): void {
    this.#release(waiting);
    waiting.reject(error);
    for (const repetition of waiting.repetitions ?? []) repetition.reject(error);
  }

  #release({ cost, repetitions }: WaitingAppend<Key>): void {
    this.#bytes -= cost;
    this.#entries -= 1 + (repetitions?.length ?? 0);
  }
}
