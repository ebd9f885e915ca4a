import type { Store } from "../../../../platform/level/store.ts";
import { WriteSet } from "../../../../platform/level/write-set.ts";
import { AppendQueue, type Waiter } from "../../core/append-queue.ts";
import type { JournalView } from "../../core/journal-view.ts";
import type { JournalLimits } from "../../core/limits.ts";
import type { JournalMessage } from "../../journal.ts";
import type { ChannelLogs } from "./channel-logs.ts";
import type { DedupKey, Deduplicator } from "./deduplicator.ts";
import { buildGroup, type Group, type Waiting } from "./group.ts";
import { retainedKey } from "./keys.ts";
import { readPublications } from "./publications.ts";

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

/** The only writer of the store. */
export class GroupCommit {
  readonly #options: GroupCommitOptions;
  readonly #queue: AppendQueue<DedupKey<Waiting>>;
  /** Rows without urgency. They join the next write, or, if that write fails, the following one. */
  deferredRows = new WriteSet();
  /** Retained messages to remove if they are still at these positions, by topic. */
  readonly #expired = new Map<string, number>();
  #flushRequests: { resolve: () => void; reject: (error: unknown) => void }[] = [];

  constructor(options: GroupCommitOptions) {
    const { limits, deduplicator } = options;
    this.#options = options;
    this.#queue = new AppendQueue({
      ...{ limits, store: "the disk" },
      dedupKeyOf: (origin) => deduplicator.dedupKeyOf(origin),
      find: (dedupKey) => deduplicator.find(dedupKey),
      wait: (dedupKey, waiting) => deduplicator.wait(dedupKey, waiting),
      write: (messages) => this.#commit(messages),
      hasMore: () => this.#flushRequests.length > 0,
    });
  }

  append(message: JournalMessage, resolve: Waiter["resolve"], reject: Waiter["reject"]): void {
    for (const channel of message.channels) this.#options.channels.check(channel);
    this.#queue.append(message, resolve, reject);
  }

  flushDeferredRows(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#flushRequests.push({ resolve, reject });
      this.#queue.wake();
    });
  }

  /** See `PublicationLog.removeRetained`. */
  removeRetained(messages: readonly { readonly topic: string; readonly position: number }[]): Promise<void> {
    for (const { topic, position } of messages) this.#expired.set(topic, position);
    return this.flushDeferredRows();
  }

  /** Resolves when nothing is written. Never rejects. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }

  async #commit(taken: Waiting[]): Promise<void> {
    let messages = taken;
    const flushRequests = this.#flushRequests;
    this.#flushRequests = [];
    try {
      await this.#options.store.ready();
      messages = await this.#withoutKnown(messages);
      if (this.#expired.size > 0) await this.#removeExpired();
      const group = await this.#write(messages);
      if (group !== undefined) this.#options.onDurable(group);
      this.#queue.accept(messages, this.#options.view.head - messages.length);
      for (const wanted of flushRequests) wanted.resolve();
    } catch (error) {
      this.#options.deduplicator.written(messages, false);
      for (const waiting of messages) this.#queue.reject(waiting, error);
      for (const wanted of flushRequests) wanted.reject(error);
    }
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
    for (const waiting of repeated) this.#queue.acceptDuplicate(waiting);
    return messages.filter((waiting) => !repeated.has(waiting));
  }

  /** Adds the removal of retained messages that the store still has. A newer message of the same write prevails. */
  async #removeExpired(): Promise<void> {
    const expired = [...this.#expired];
    this.#expired.clear();
    const keys = expired.map(([topic]) => retainedKey(topic));
    const rows = await this.#options.store.read((db) =>
      db.getMany<string, Uint8Array>(keys, { valueEncoding: "view" }),
    );
    for (const [index, [topic, position]] of expired.entries()) {
      const row = rows[index];
      if (row !== undefined && readPublications(row).publications[0]?.position === position)
        this.deferredRows.del(retainedKey(topic));
    }
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
}
