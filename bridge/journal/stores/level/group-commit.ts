import { StoreUnavailableError } from "../../../../platform/errors.ts";
import type { Store } from "../../../../platform/level/store.ts";
import { WriteSet } from "../../../../platform/level/write-set.ts";
import type { Appended, JournalMessage } from "../../journal.ts";
import type { ChannelLogs } from "./channel-logs.ts";
import type { Deduplicator } from "./deduplicator.ts";
import { buildGroup, type Group, type Waiter, type Waiting } from "./group.ts";
import type { JournalLimits } from "./limits.ts";
import type { StateTable } from "./state-table.ts";

export interface GroupCommitOptions {
  store: Store;
  channels: ChannelLogs;
  deduplicator: Deduplicator<Waiting>;
  states: StateTable;
  limits: JournalLimits;
  now: () => number;
  /** The newest durable position. */
  head: () => number;
  /** Makes a durable group visible. The appends resolve afterwards. */
  onDurable: (group: Group) => void;
}

const DUPLICATE: Appended = { position: undefined, duplicate: true };

/**
 * The only writer of the store. Appends that arrive during a write wait and share the next write: on a slow disk the
 * writes get larger. The order of the calls is the order of positions.
 */
export class GroupCommit {
  readonly #options: GroupCommitOptions;
  /** Appends for the next writes, in order. */
  #waiting: Waiting[] = [];
  /** The number of appends that are not durable yet, including the current write and repeated messages. */
  #entries = 0;
  #bytes = 0;
  #deferredRows = new WriteSet();
  #flushRequests: { resolve: () => void; reject: (error: unknown) => void }[] = [];
  #writing: Promise<void> | undefined;

  constructor(options: GroupCommitOptions) {
    this.#options = options;
  }

  /** Rows without urgency. They join the next write, or, if that write fails, the following one. */
  get deferredRows(): WriteSet {
    return this.#deferredRows;
  }

  /**
   * @throws {RangeError} an invalid channel name
   * @throws {StoreUnavailableError} too many appends wait, or the journal cannot add another channel
   */
  append(message: JournalMessage, resolve: Waiter["resolve"], reject: Waiter["reject"]): void {
    const { limits, channels, deduplicator } = this.#options;
    if (this.#entries >= limits.maxWaitingEntries || this.#bytes >= limits.maxWaitingBytes)
      throw new StoreUnavailableError(
        `${this.#entries} messages already wait for the disk: the disk is too slow for them`,
      );
    for (const channel of message.channels) channels.check(channel);
    const dedupKey = deduplicator.dedupKeyOf(message.origin);
    const found = dedupKey === undefined ? undefined : deduplicator.find(dedupKey);
    if (found === "durable") {
      resolve(DUPLICATE);
      return;
    }
    this.#entries++;
    if (found !== undefined) {
      found.repetitions ??= [];
      found.repetitions.push({ resolve, reject });
      return;
    }
    const cost = message.topic.length + message.body.length + (message.publish?.payload.byteLength ?? 0);
    const waiting: Waiting = { message, dedupKey, cost, resolve, reject, repetitions: undefined };
    this.#bytes += cost;
    if (dedupKey !== undefined) deduplicator.wait(dedupKey, waiting);
    this.#waiting.push(waiting);
    this.#wake();
  }

  /** Writes the current deferred rows. Resolves when they are durable. */
  flushDeferredRows(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#flushRequests.push({ resolve, reject });
      this.#wake();
    });
  }

  /** Resolves when no append waits. Never rejects. */
  async idle(): Promise<void> {
    await this.#writing;
  }

  #wake(): void {
    this.#writing ??= this.#writeAll();
  }

  async #writeAll(): Promise<void> {
    do {
      // Appends of the same turn of the event loop join this write.
      await new Promise((resolve) => setImmediate(resolve));
      let messages = this.#take();
      const flushRequests = this.#flushRequests;
      this.#flushRequests = [];
      try {
        await this.#options.store.ready();
        messages = await this.#withoutKnown(messages);
        const group = await this.#write(messages);
        if (group !== undefined) this.#options.onDurable(group);
        this.#accepted(messages, group);
        for (const wanted of flushRequests) wanted.resolve();
      } catch (error) {
        this.#refused(messages, error);
        for (const wanted of flushRequests) wanted.reject(error);
      }
    } while (this.#waiting.length > 0 || this.#flushRequests.length > 0);
    this.#writing = undefined;
  }

  #take(): Waiting[] {
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

  /** Removes messages whose ids are already in the store, and resolves their appends as duplicates. */
  async #withoutKnown(messages: Waiting[]): Promise<Waiting[]> {
    const { store, deduplicator } = this.#options;
    const named = messages.filter(({ dedupKey }) => dedupKey?.idKey !== undefined);
    if (named.length === 0) return messages;
    const keys = named.map(({ dedupKey }) => dedupKey?.idKey ?? "");
    const known = await store.db.hasMany(keys).catch((error: unknown) => Promise.reject(store.failed(error)));
    const repeated = new Set(named.filter((_, index) => known[index]));
    if (repeated.size === 0) return messages;
    deduplicator.written([...repeated], true);
    for (const waiting of repeated) {
      this.#release(waiting);
      waiting.resolve(DUPLICATE);
      for (const repetition of waiting.repetitions ?? []) repetition.resolve(DUPLICATE);
    }
    return messages.filter((waiting) => !repeated.has(waiting));
  }

  async #write(messages: readonly Waiting[]): Promise<Group | undefined> {
    const { store, channels, deduplicator, states, head, now } = this.#options;
    const deferredRows = this.#deferredRows;
    if (messages.length === 0 && deferredRows.size === 0) return undefined;
    this.#deferredRows = new WriteSet();
    const set = new WriteSet();
    try {
      const group = buildGroup(messages, { channels, deduplicator, states, head: head(), acceptedAt: now() }, set);
      await store.write(set, deferredRows);
      return messages.length === 0 ? undefined : group;
    } catch (error) {
      deferredRows.add(this.#deferredRows);
      this.#deferredRows = deferredRows;
      channels.rolledBack();
      throw error;
    }
  }

  #accepted(messages: readonly Waiting[], group: Group | undefined): void {
    for (let index = 0; index < messages.length; index++) {
      const waiting = messages[index];
      const entry = group?.entries[index];
      if (waiting === undefined || entry === undefined) continue;
      this.#release(waiting);
      waiting.resolve({ position: entry.position, duplicate: false });
      if (waiting.repetitions === undefined) continue;
      for (const repetition of waiting.repetitions) repetition.resolve(DUPLICATE);
    }
  }

  #refused(messages: readonly Waiting[], error: unknown): void {
    this.#options.deduplicator.written(messages, false);
    for (const waiting of messages) {
      this.#release(waiting);
      waiting.reject(error);
      for (const repetition of waiting.repetitions ?? []) repetition.reject(error);
    }
  }

  #release({ cost, repetitions }: Waiting): void {
    this.#bytes -= cost;
    this.#entries -= 1 + (repetitions?.length ?? 0);
  }
}
