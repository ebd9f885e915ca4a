import type { Store } from "../../../../platform/level/store.ts";
import { WriteSet } from "../../../../platform/level/write-set.ts";
import type { JournalView } from "../../core/journal-view.ts";
import type { JournalMessage } from "../../journal.ts";
import { AppendQueue, DUPLICATE, type Waiter } from "../append-queue.ts";
import type { JournalLimits } from "../limits.ts";
import type { ChannelLogs } from "./channel-logs.ts";
import type { DedupKey, Deduplicator } from "./deduplicator.ts";
import { buildGroup, type Group, type Waiting } from "./group.ts";

interface GroupCommitOptions {
  store: Store;
  channels: ChannelLogs;
  deduplicator: Deduplicator<Waiting>;
  view: JournalView;
  limits: JournalLimits;
  now: () => number;
  /** Adds rows that have changed to the rows without urgency. */
  putChanged: (set: WriteSet) => void;
  /** Makes a durable group visible. The appends resolve afterwards. */
  onDurable: (group: Group) => void;
}

/**
 * The only writer of the store. Appends that arrive during a write share the next write: on a slow disk the writes get
 * larger. The order of the calls is the order of positions.
 */
export class GroupCommit {
  readonly #options: GroupCommitOptions;
  readonly #queue: AppendQueue<DedupKey<Waiting>>;
  /** Rows without urgency. They join the next write, or, if that write fails, the following one. */
  deferredRows = new WriteSet();
  #flushRequests: { resolve: () => void; reject: (error: unknown) => void }[] = [];
  #writing: Promise<void> | undefined;

  constructor(options: GroupCommitOptions) {
    this.#options = options;
    this.#queue = new AppendQueue(options.limits, "the disk");
  }

  append(message: JournalMessage, resolve: Waiter["resolve"], reject: Waiter["reject"]): void {
    const { channels, deduplicator } = this.#options;
    this.#queue.assertRoom();
    for (const channel of message.channels) channels.check(channel);
    const dedupKey = deduplicator.dedupKeyOf(message.origin);
    const found = dedupKey === undefined ? undefined : deduplicator.find(dedupKey);
    if (found === "durable") resolve(DUPLICATE);
    else if (found !== undefined) this.#queue.addRepetition(found, resolve, reject);
    else {
      const waiting = this.#queue.add(message, dedupKey, resolve, reject);
      if (dedupKey !== undefined) deduplicator.wait(dedupKey, waiting);
      this.#wake();
    }
  }

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
      let messages = this.#queue.take();
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
        this.#options.deduplicator.written(messages, false);
        for (const waiting of messages) this.#queue.reject(waiting, error);
        for (const wanted of flushRequests) wanted.reject(error);
      }
    } while (!this.#queue.isEmpty || this.#flushRequests.length > 0);
    this.#writing = undefined;
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
    for (const waiting of repeated) this.#queue.resolve(waiting, DUPLICATE);
    return messages.filter((waiting) => !repeated.has(waiting));
  }

  async #write(messages: readonly Waiting[]): Promise<Group | undefined> {
    const { store, channels, deduplicator, view, now } = this.#options;
    const deferredRows = this.deferredRows;
    this.#options.putChanged(deferredRows);
    if (messages.length === 0 && deferredRows.size === 0) return undefined;
    this.deferredRows = new WriteSet();
    const set = new WriteSet();
    try {
      const group = buildGroup(messages, { channels, deduplicator, view, acceptedAt: now() }, set);
      await store.write(set, deferredRows);
      return messages.length === 0 ? undefined : group;
    } catch (error) {
      deferredRows.add(this.deferredRows);
      this.deferredRows = deferredRows;
      channels.rolledBack();
      throw error;
    }
  }

  #accepted(messages: readonly Waiting[], group: Group | undefined): void {
    for (let index = 0; index < messages.length; index++) {
      const waiting = messages[index];
      const entry = group?.entries[index];
      if (waiting === undefined || entry === undefined) continue;
      this.#queue.resolve(waiting, { position: entry.position, duplicate: false });
    }
  }
}
