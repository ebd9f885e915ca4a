import { channelOfLog, FairShares, isShared, logOf, ownerOf } from "./fair-shares.ts";
import type {
  Appended,
  Entry,
  Journal,
  JournalMessage,
  Recovery,
  ReplayPage,
  ReplayRequest,
  StateEntry,
  Undelivered,
} from "./journal.ts";

export interface SharedChannelsOptions {
  /** Events that a channel keeps. */
  retentionEvents: number;
  /** Of them, what one sender may have of a channel that many speak in, percent. */
  sharePercent: number;
}

/**
 * A journal in which nobody can push the others' events out of a channel that all share: one camera at 2,000 events a
 * second erased everybody's 24 hours in 5 seconds. Who has more than a share is kept apart ({@link FairShares}), and
 * read together with the others, in order of position. Works above any store, whose retention sees a log more.
 */
export function withFairShares(journal: Journal, options: SharedChannelsOptions): Journal {
  return new SharedChannels(journal, options);
}

/** Senders whose name for a log is remembered. */
const MAX_OWNERS = 10_000;

class SharedChannels implements Journal {
  readonly #journal: Journal;
  readonly #shares: FairShares;
  /** The logs of each channel beside its own. */
  readonly #logs = new Map<string, Set<string>>();
  /** As `ownerOf` says it: asked of every message. */
  readonly #owners = new Map<string, string>();
  /** What the channels of a topic, which come as one array, become for the sender that was the last to need it. */
  readonly #apart = new WeakMap<readonly string[], { owner: string; channels: readonly string[] }>();
  /** The newest entries, with the names of channels in place of those of logs. */
  #visibleEntries: readonly Entry[] = [];

  constructor(journal: Journal, { retentionEvents, sharePercent }: SharedChannelsOptions) {
    this.#journal = journal;
    this.#shares = new FairShares(retentionEvents, sharePercent);
    this.#find();
    journal.onReset(() => this.#find());
    // The first follower of the journal: it runs before those that read its result.
    journal.follow((entries) => this.#follow(entries));
  }

  get epoch(): string {
    return this.#journal.epoch;
  }

  get head(): number {
    return this.#journal.head;
  }

  get unavailableReason(): string | undefined {
    return this.#journal.unavailableReason;
  }

  get freeChannels(): number {
    return this.#journal.freeChannels;
  }

  append(message: JournalMessage): Promise<Appended> {
    const owner = this.#ownerOf(message);
    return this.#journal.append(owner === undefined ? message : this.#placed(message, owner));
  }

  follow(onEntries: (entries: readonly Entry[]) => void): () => void {
    return this.#journal.follow(() => onEntries(this.#visibleEntries));
  }

  async replay(request: ReplayRequest): Promise<ReplayPage> {
    const channels = request.channels.flatMap((channel) => this.#logsOf(channel));
    const page = await this.#journal.replay({ ...request, channels });
    return { ...page, entries: shown(page.entries) };
  }

  recovery(channel: string, since: { epoch: string; position: number }): Recovery {
    let lost: Lost | undefined;
    let keptFrom = Number.POSITIVE_INFINITY;
    const logs = this.#logsOf(channel);
    for (const log of logs) {
      const recovery = this.#journal.recovery(log, since);
      if (recovery.complete) keptFrom = since.position;
      // In another epoch, or in one that is not as far, it is the same for all.
      else if (logs.length === 1 || (recovery.reason !== "trimmed" && recovery.reason !== "damaged")) return recovery;
      else {
        keptFrom = Math.min(keptFrom, recovery.gap.before - 1);
        lost = wider(lost, recovery);
      }
    }
    if (lost === undefined) return { complete: true };
    return lost.reason === "damaged" ? lost : { ...lost, keptFrom: Math.max(since.position, keptFrom) };
  }

  snapshot(channel: string): readonly StateEntry[] {
    const logs = this.#logsOf(channel);
    if (logs.length === 1) return this.#journal.snapshot(channel);
    const states = logs.flatMap((log) => shown(this.#journal.snapshot(log)));
    return states.sort((one, other) => one.position - other.position);
  }

  state(topic: string): StateEntry | undefined {
    const state = this.#journal.state(topic);
    return state === undefined ? undefined : shownOne(state);
  }

  hasChannel(channel: string): boolean {
    return this.#journal.hasChannel(channel);
  }

  channelNames(): Iterable<string> {
    return this.#journal.channelNames();
  }

  delivered(position: number): void {
    this.#journal.delivered(position);
  }

  undelivered(): AsyncIterable<Undelivered> {
    return this.#journal.undelivered();
  }

  onUndelivered(listener: () => void): () => void {
    return this.#journal.onUndelivered(listener);
  }

  onReset(listener: () => void): () => void {
    return this.#journal.onReset(listener);
  }

  trim(): Promise<number> {
    return this.#journal.trim();
  }

  close(): Promise<void> {
    return this.#journal.close();
  }

  #ownerOf({ origin: { sender }, camera }: JournalMessage): string | undefined {
    const known = this.#owners.get(sender);
    if (known !== undefined) return known;
    const owner = ownerOf(sender, camera);
    // The backend speaks of many cameras.
    if (owner === undefined || !sender.includes(":")) return owner;
    if (this.#owners.size >= MAX_OWNERS) this.#owners.clear();
    this.#owners.set(sender, owner);
    return owner;
  }

  /** The message, in logs of its sender's own where that has more than its share. */
  #placed(message: JournalMessage, owner: string): JournalMessage {
    let exceeded = 0;
    let shared = 0;
    for (const channel of message.channels) {
      if (!isShared(channel)) continue;
      shared++;
      if (this.#shares.exceeds(channel, owner)) exceeded++;
    }
    if (exceeded === 0) return message;
    const known = this.#apart.get(message.channels);
    // Nearly always it has more than its share of all of them.
    if (exceeded === shared && known?.owner === owner) return { ...message, channels: known.channels };
    const isAll = exceeded === shared;
    const channels = message.channels.map((channel) =>
      isShared(channel) && (isAll || this.#shares.isBeyond(channel, owner)) ? logOf(channel, owner) : channel,
    );
    if (isAll) this.#apart.set(message.channels, { owner, channels });
    return { ...message, channels };
  }

  #follow(entries: readonly Entry[]): void {
    this.#visibleEntries = entries;
    if (!entries.some(isApart)) return;
    for (const { channels } of entries) for (const log of channels) this.#note(log);
    this.#visibleEntries = entries.map(shownOne);
  }

  #find(): void {
    this.#logs.clear();
    for (const log of this.#journal.channelNames()) this.#note(log);
  }

  #note(log: string): void {
    const channel = channelOfLog(log);
    if (channel === undefined) return;
    const logs = this.#logs.get(channel);
    if (logs === undefined) this.#logs.set(channel, new Set([log]));
    else logs.add(log);
  }

  /** The logs that hold the channel's events. One that was forgotten, since it keeps nothing, is left out from then on. */
  #logsOf(channel: string): string[] {
    const logs = this.#logs.get(channel);
    if (logs === undefined) return [channel];
    for (const log of logs) if (!this.#journal.hasChannel(log)) logs.delete(log);
    return [channel, ...logs];
  }
}

type Lost = Extract<Recovery, { complete: false }>;

/** What was trimmed is told first: a hole is told when its place is reached. */
function wider(one: Lost | undefined, other: Lost): Lost {
  if (one === undefined) return other;
  if (one.reason !== other.reason) return one.reason === "trimmed" ? one : other;
  return (one.reason === "trimmed") === one.gap.before >= other.gap.before ? one : other;
}

/** As dashboards know them: with the names of channels. The same array when there is nothing to change. */
function shown<One extends StateEntry>(entries: readonly One[]): readonly One[] {
  return entries.some(isApart) ? entries.map(shownOne) : entries;
}

function shownOne<One extends StateEntry>(entry: One): One {
  return isApart(entry) ? { ...entry, channels: entry.channels.map((log) => channelOfLog(log) ?? log) } : entry;
}

function isApart({ channels }: StateEntry): boolean {
  for (const log of channels) if (channelOfLog(log) !== undefined) return true;
  return false;
}
