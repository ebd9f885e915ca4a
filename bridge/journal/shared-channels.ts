import type { Since } from "../../contract/socket-messages.ts";
import { channelOfLog, FairShares, isShared, logOf, ownerOf } from "./fair-shares.ts";
import type { Appended, Entry, Journal, JournalMessage, Recovery, StateEntry } from "./journal.ts";

interface SharedChannelsOptions {
  /** The number of events that a channel keeps. */
  retentionEvents: number;
  /** The largest share of these events, in percent, for one sender in a channel with many senders. */
  sharePercent: number;
}

/**
 * Wraps a journal so that one sender cannot evict the events of all others from a shared channel: one camera at 2,000
 * events a second erased 24 hours of a channel in 5 seconds. A sender that exceeds its share gets a separate log
 * ({@link FairShares}), which is a channel of the store with its own retention. Reads merge the logs of a channel.
 */
export function withFairShares(journal: Journal, options: SharedChannelsOptions): Journal {
  return new SharedChannels(journal, options);
}

const MAX_OWNERS = 10_000;

class SharedChannels implements Journal {
  readonly #journal: Journal;
  readonly #shares: FairShares;
  readonly #logs = new Map<string, Set<string>>();
  readonly #owners = new Map<string, string>();
  /**
   * The last sender that exceeded its share of all shared channels of a topic, and the names of its logs. The key is
   * the topic's array of channels, which is always the same object.
   */
  readonly #separateLogs = new WeakMap<readonly string[], { owner: string; channels: readonly string[] }>();
  /** The newest entries, with channel names in place of log names. */
  #visibleEntries: readonly Entry[] = [];

  constructor(journal: Journal, { retentionEvents, sharePercent }: SharedChannelsOptions) {
    this.#journal = journal;
    this.#shares = new FairShares(retentionEvents, sharePercent);
    this.#findLogs();
    journal.onReset(() => this.#findLogs());
    // This is the first follower of the journal, so its result is ready when the other followers run.
    journal.follow((entries) => this.#follow(entries));
  }

  get epoch(): string {
    return this.#journal.epoch;
  }

  get head(): number {
    return this.#journal.head;
  }

  get mqtt(): Journal["mqtt"] {
    return this.#journal.mqtt;
  }

  get unavailableReason(): string | undefined {
    return this.#journal.unavailableReason;
  }

  get lostEvents(): number {
    return this.#journal.lostEvents;
  }

  get freeChannels(): number {
    return this.#journal.freeChannels;
  }

  append(message: JournalMessage): Promise<Appended> {
    const owner = this.#ownerOf(message);
    return this.#journal.append(owner === undefined ? message : this.#placed(message, owner));
  }

  follow: Journal["follow"] = (onEntries) => this.#journal.follow(() => onEntries(this.#visibleEntries));
  hasChannel: Journal["hasChannel"] = (channel) => this.#journal.hasChannel(channel);
  channelNames: Journal["channelNames"] = () => this.#journal.channelNames();
  finished: Journal["finished"] = (position) => this.#journal.finished(position);
  unfinished: Journal["unfinished"] = () => this.#journal.unfinished();
  onUnfinished: Journal["onUnfinished"] = (listener) => this.#journal.onUnfinished(listener);
  onReset: Journal["onReset"] = (listener) => this.#journal.onReset(listener);
  reach: Journal["reach"] = (since) => this.#journal.reach(since);
  keepFor: Journal["keepFor"] = (reader) => this.#journal.keepFor(reader);
  trim: Journal["trim"] = () => this.#journal.trim();
  close: Journal["close"] = () => this.#journal.close();

  replay: Journal["replay"] = async (request) => {
    const channels = request.channels.flatMap((channel) => this.#logsOf(channel));
    const page = await this.#journal.replay({ ...request, channels });
    return { ...page, entries: allWithChannelNames(page.entries) };
  };

  read: Journal["read"] = async (request) => {
    const page = await this.#journal.read(request);
    return { ...page, entries: allWithChannelNames(page.entries) };
  };

  recovery(channel: string, since: Since, shared?: number): Recovery {
    let reported: Incomplete | undefined;
    let keptFrom = Number.POSITIVE_INFINITY;
    const logs = this.#logsOf(channel);
    for (const log of logs) {
      const recovery = this.#journal.recovery(log, since, shared);
      if (recovery.complete) keptFrom = since.position;
      // With `ahead`, or an `epoch_changed` without `keptFrom`, the result is the same for all logs.
      else if (logs.length === 1 || recovery.reason === "ahead" || isOfUnknownEpoch(recovery)) return recovery;
      else {
        keptFrom = Math.min(keptFrom, recovery.keptFrom ?? recovery.gap.before - 1);
        reported = lossToReport(reported, recovery);
      }
    }
    if (reported === undefined) return { complete: true };
    if (reported.reason === "damaged") return reported;
    return { ...reported, keptFrom: reported.reason === "trimmed" ? Math.max(since.position, keptFrom) : keptFrom };
  }

  snapshot(channel: string): readonly StateEntry[] {
    const logs = this.#logsOf(channel);
    if (logs.length === 1) return this.#journal.snapshot(channel);
    const states = logs.flatMap((log) => allWithChannelNames(this.#journal.snapshot(log)));
    return states.sort((one, other) => one.position - other.position);
  }

  state(topic: string): StateEntry | undefined {
    const state = this.#journal.state(topic);
    return state === undefined ? undefined : withChannelNames(state);
  }

  #ownerOf({ origin: { sender }, camera }: JournalMessage): string | undefined {
    const known = this.#owners.get(sender);
    if (known !== undefined) return known;
    const owner = ownerOf(sender, camera);
    // The backend sends events about many cameras, so the result for the backend is not cached.
    if (owner === undefined || !sender.includes(":")) return owner;
    if (this.#owners.size >= MAX_OWNERS) this.#owners.clear();
    this.#owners.set(sender, owner);
    return owner;
  }

  /** The message, with separate logs in place of the channels in which its sender exceeds its share. */
  #placed(message: JournalMessage, owner: string): JournalMessage {
    let exceeded = 0;
    let shared = 0;
    for (const channel of message.channels) {
      if (!isShared(channel)) continue;
      shared++;
      if (this.#shares.exceeds(channel, owner)) exceeded++;
    }
    if (exceeded === 0) return message;
    const known = this.#separateLogs.get(message.channels);
    // A sender nearly always exceeds its share of all shared channels of a message, or of no channel.
    if (exceeded === shared && known?.owner === owner) return { ...message, channels: known.channels };
    const isAll = exceeded === shared;
    const channels = message.channels.map((channel) =>
      isShared(channel) && (isAll || this.#shares.isOverShare(channel, owner)) ? logOf(channel, owner) : channel,
    );
    if (isAll) this.#separateLogs.set(message.channels, { owner, channels });
    return { ...message, channels };
  }

  #follow(entries: readonly Entry[]): void {
    this.#visibleEntries = entries;
    if (!entries.some(hasSeparateLog)) return;
    for (const { channels } of entries) for (const log of channels) this.#addLog(log);
    this.#visibleEntries = entries.map(withChannelNames);
  }

  #findLogs(): void {
    this.#logs.clear();
    for (const log of this.#journal.channelNames()) this.#addLog(log);
  }

  #addLog(log: string): void {
    const channel = channelOfLog(log);
    if (channel === undefined) return;
    this.#logs.set(channel, (this.#logs.get(channel) ?? new Set()).add(log));
  }

  /** The logs that hold the channel's events. Forgets separate logs that the journal removed. */
  #logsOf(channel: string): string[] {
    const logs = this.#logs.get(channel);
    if (logs === undefined) return [channel];
    for (const log of logs) if (!this.#journal.hasChannel(log)) logs.delete(log);
    return [channel, ...logs];
  }
}

type Incomplete = Extract<Recovery, { complete: false }>;

/**
 * Picks the recovery to report for a channel with several logs. `trimmed` comes before `damaged`, because a reader
 * reaches the damaged range later. Among `trimmed` gaps the last end wins, among `damaged` gaps the first end.
 */
function lossToReport(one: Incomplete | undefined, other: Incomplete): Incomplete {
  if (one === undefined) return other;
  if (one.reason !== other.reason) return one.reason === "trimmed" ? one : other;
  return (one.reason === "trimmed") === one.gap.before >= other.gap.before ? one : other;
}

function isOfUnknownEpoch({ reason, keptFrom }: Incomplete): boolean {
  return reason === "epoch_changed" && keptFrom === undefined;
}

/** Replaces log names by channel names, as dashboards know them. */
function allWithChannelNames<One extends StateEntry>(entries: readonly One[]): readonly One[] {
  return entries.some(hasSeparateLog) ? entries.map(withChannelNames) : entries;
}

function withChannelNames<One extends StateEntry>(entry: One): One {
  return hasSeparateLog(entry) ? { ...entry, channels: entry.channels.map((log) => channelOfLog(log) ?? log) } : entry;
}

function hasSeparateLog({ channels }: StateEntry): boolean {
  for (const log of channels) if (channelOfLog(log) !== undefined) return true;
  return false;
}
