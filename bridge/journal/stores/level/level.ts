// The journal in LevelDB, for one node. Its parts:
//
// - `group-commit` queues appends and writes them; `group`, `chunk` and `publications` build the rows of one write.
// - `deduplicator` and `session-table` detect duplicates; `state-table` holds the newest retained messages.
// - `channel-logs` holds counts and floors of channels; `retention` removes old entries.
// - `reader` reads pages from memory, or with `pages` from the store. `continuity` and `known-gaps` find entries that a
//   damaged store has lost.
// - `publication-log` and `publications` hold the publications for MQTT subscribers; `broker-rows` holds the broker's
//   sessions; `open-publications` holds the commands that the relay has not finished; `loading` and `checkpoint` open
//   the store.
//
// The steps of an append: `append` checks the channels and the duplicates, and queues the message. At the end of the
// turn of the event loop, the queue becomes one group with positions and rows, which LevelDB writes as one batch. Once
// the batch is durable, readers can read the group, the followers are called, and the appends resolve. Appends that
// arrive during the write form the next group.

import type { Logger } from "pino";
import type { Gap, Since } from "../../../../contract/socket-messages.ts";
import { StoreUnavailableError } from "../../../../platform/errors.ts";
import type { OnDamage } from "../../../../platform/level/damage.ts";
import { Store } from "../../../../platform/level/store.ts";
import { WriteSet } from "../../../../platform/level/write-set.ts";
import { Listeners } from "../../../../platform/listeners.ts";
import type { AppendedPublication, MqttLog } from "../../../../platform/publication-log.ts";
import { StoredPublicationLog } from "../../core/publication-log.ts";
import type { PublicationRows } from "../../core/publication-rows.ts";
import type { Appended, Entry, Journal, JournalMessage, JournalReader, Recovery } from "../../journal.ts";
import type { ReferencedPreviews } from "../../preview-references.ts";
import { RecentEntries } from "../../recent-entries.ts";
import {
  assertRetention,
  BACKGROUND,
  DEFAULT_JOURNAL_LIMITS,
  type JournalLimits,
  type RetentionLimits,
} from "../limits.ts";
import { LevelBrokerRows } from "./broker-rows.ts";
import type { ChannelLogs } from "./channel-logs.ts";
import { beginRun, bootOfMachine, type Checkpoint, writeCheckpoint } from "./checkpoint.ts";
import type { Deduplicator } from "./deduplicator.ts";
import { LevelEarlierRows } from "./earlier-rows.ts";
import type { Group, Waiting } from "./group.ts";
import { GroupCommit } from "./group-commit.ts";
import { HEAD_KEY } from "./keys.ts";
import { KnownGaps } from "./known-gaps.ts";
import { type LoadedJournal, loadJournal } from "./loading.ts";
import { OpenPublications } from "./open-publications.ts";
import { LevelPublications } from "./publication-log.ts";
import { Reader } from "./reader.ts";
import { Retention } from "./retention.ts";
import type { StateTable } from "./state-table.ts";

export { DEFAULT_JOURNAL_LIMITS, type JournalLimits } from "../limits.ts";

const CHECKPOINT_INTERVAL_MS = 1_000;

export interface LevelJournalOptions extends RetentionLimits {
  /** The folder of the journal. Created if it does not exist. Only one process may use it at a time. */
  path: string;
  /** Whether an append waits for the disk. If false, the newest entries may be lost when the machine crashes. */
  sync: boolean;
  logger: Logger;
  /** Called when damage is found. Default: damage is only logged. */
  onDamage?: OnDamage;
  /** The pictures of publications that name previews. Default: subscribers who were away get no previews. */
  previews?: ReferencedPreviews;
  now?: () => number;
  limits?: Partial<JournalLimits>;
}

/**
 * Opens the journal, or creates it.
 * @throws {RangeError} the retention would keep no entries
 * @throws {StoreUnusableError} another process uses the folder, it is not accessible, or the damage is beyond repair
 */
export async function openLevelJournal(options: LevelJournalOptions): Promise<Journal> {
  assertRetention(options);
  const limits = { ...DEFAULT_JOURNAL_LIMITS, ...options.limits };
  const boot = await bootOfMachine();
  const settings: Settings = { onDamage: () => {}, ...options, limits, now: options.now ?? Date.now, boot };
  settings.logger = options.logger.child({ part: "journal" });
  const { logger, onDamage } = settings;
  const knownGaps = new KnownGaps((channel, gap) => {
    if (isOpen) reportGap(channel, gap, settings);
  });
  let isOpen = false;
  const loaded = await loadJournal({ path: options.path, limits, knownGaps, onDamage, logger });
  isOpen = true;
  const journal = new LevelJournal(loaded, knownGaps, settings);
  await journal.start();
  return journal;
}

/** Reports a gap that was not known when the journal was opened. */
function reportGap(channel: string, { after, before }: Gap, { logger, onDamage, path }: Settings): void {
  const missing = `events of ${channel || "no channel"} are missing between the positions ${after} and ${before}`;
  logger.error({ channel, after, before }, "journal is damaged: events are missing, the gap is reported to readers");
  onDamage({ store: "journal", found: `${path} cannot be read completely`, missing });
}

/** The position above which retention keeps all entries. */
function unreadFrom(readers: Iterable<JournalReader>, head: number): number {
  let from = Number.POSITIVE_INFINITY;
  for (const reader of readers) from = Math.min(from, Math.max(reader.position() ?? 0, head - reader.maxEvents));
  return from;
}

interface Settings extends LevelJournalOptions {
  onDamage: OnDamage;
  now: () => number;
  limits: JournalLimits;
  boot: string | undefined;
}

class LevelJournal implements Journal {
  readonly #settings: Settings;
  readonly #channels: ChannelLogs;
  readonly #deduplicator: Deduplicator<Waiting>;
  readonly #states: StateTable;
  readonly #store: Store;
  readonly #writer: GroupCommit;
  readonly #reader: Reader;
  readonly #retention: Retention;
  readonly #readers = new Set<JournalReader>();
  readonly #open = new OpenPublications();
  readonly #rows: LevelBrokerRows;
  readonly #publications: LevelPublications;
  readonly #log: StoredPublicationLog;
  readonly #publicationRows: PublicationRows;
  readonly mqtt: MqttLog;
  readonly #recentEntries: RecentEntries;
  readonly #knownGaps: KnownGaps;
  /** The newest position of the earlier runs. */
  readonly #startHead: number;
  #head: number;
  readonly #followers: Listeners<[entries: readonly Entry[]]>;
  #trimming: Promise<unknown> = Promise.resolve();
  #untrimmedAppends = 0;
  #checkpointing: Promise<void> = Promise.resolve();
  #checkpointHead = -1;
  /** The fields about this run in every checkpoint. */
  #run: Partial<Checkpoint> = {};
  #timers: NodeJS.Timeout[] = [];
  #openTimer: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;
  #hasWarnedOfFullStateTable = false;

  constructor(loaded: LoadedJournal, knownGaps: KnownGaps, settings: Settings) {
    const { db, channels, deduplicator, states, head, publications } = loaded;
    this.#knownGaps = knownGaps;
    const { path, sync, logger, limits, now } = settings;
    this.#settings = settings;
    this.#followers = new Listeners(logger);
    this.#channels = channels;
    this.#deduplicator = deduplicator;
    this.#states = states;
    this.#head = head;
    this.#startHead = head;
    this.#recentEntries = new RecentEntries({ maxChars: limits.maxRecentChars });
    this.#retention = new Retention(channels, settings);
    const truth = (key: string) => this.#correctRow(key);
    const proof = (set: WriteSet) => set.put(HEAD_KEY, String(this.#head));
    // Retained messages are not in memory.
    const isRestored = (key: string) => key.startsWith("r");
    this.#store = new Store(db, { path, sync, logger, truth, proof, isRestored });
    this.#reader = new Reader(channels, this.#store, this.#recentEntries, knownGaps);
    const writer = () => this.#writer;
    this.#rows = new LevelBrokerRows({
      ...{ db: () => this.#store.db, writer, path, nextVersion: loaded.nextRowVersion, logger },
    });
    const view = () => ({ epoch: this.epoch, head: this.#head, publications });
    const { previews } = settings;
    this.#publicationRows = publications;
    this.#publications = new LevelPublications({ view, store: this.#store, writer, previews, logger });
    this.#log = new StoredPublicationLog({ store: this.#publications, view, previews, logger });
    this.mqtt = {
      publications: this.#log,
      rows: this.#rows,
      append: (publication) => this.#appendForMqtt(publication),
      incomingIds: () => this.#rows.incomingIds(),
      removeIncomingIds: (ids) => this.#rows.removeIncomingIds(ids),
      onReset: () => () => {},
      earlier: new LevelEarlierRows({
        ...{ store: this.#store, writer, rows: this.#rows, logger },
        append: (publication) => this.#appendForMqtt(publication),
        head: () => this.#head,
        statePosition: (topic) => this.#states.get(topic)?.position,
      }),
    };
    this.#writer = new GroupCommit({
      ...{ store: this.#store, channels, deduplicator, states, limits, now },
      head: () => this.#head,
      rows: publications,
      putChanged: (set) => this.#rows.putChanged(set),
      onDurable: (group) => this.#publish(group),
    });
  }

  async start(): Promise<void> {
    const { path, logger } = this.#settings;
    await beginRun(path, async (part) => {
      this.#run = part;
      await this.#writeCheckpoint(false);
    }).catch((err: unknown) => logger.debug({ err }, "checkpoint not written"));
    this.#timers = [
      setInterval(() => this.#trimInBackground(), BACKGROUND.trimIntervalMs).unref(),
      setInterval(() => void this.#checkpoint(false), CHECKPOINT_INTERVAL_MS).unref(),
    ];
  }

  get epoch(): string {
    return this.#channels.epoch;
  }

  get head(): number {
    return this.#head;
  }

  get unavailableReason(): string | undefined {
    return this.#closing === undefined ? this.#store.unavailableReason : "the journal is closed";
  }

  append(message: JournalMessage): Promise<Appended> {
    return new Promise((resolve, reject) => {
      // An error that is thrown here rejects the promise.
      this.#assertOpen();
      this.#writer.append(message, resolve, reject);
    });
  }

  replay: Journal["replay"] = async (request) => {
    this.#assertOpen();
    return await this.#reader.replay(request, this.#head);
  };

  read: Journal["read"] = async (request) => {
    this.#assertOpen();
    return await this.#reader.read(request, this.#head);
  };

  recovery(channel: string, since: Since): Recovery {
    const recovery = this.#channels.recovery(channel, since, this.#head);
    const gap = recovery.complete ? this.#knownGaps.next(channel, since.position) : undefined;
    if (gap === undefined) return recovery;
    const { after, before } = gap;
    return { complete: false, reason: "damaged", gap: { after: Math.max(since.position, after), before } };
  }

  follow: Journal["follow"] = (onEntries) => this.#followers.add(onEntries);
  snapshot: Journal["snapshot"] = (channel) => this.#states.snapshot(channel);
  state: Journal["state"] = (topic) => this.#states.get(topic);
  hasChannel: Journal["hasChannel"] = (channel) => this.#channels.get(channel) !== undefined;
  channelNames: Journal["channelNames"] = () => this.#channels.names();
  unfinished: Journal["unfinished"] = () => this.#open.unfinished(this.#store, this.#startHead);
  onUnfinished: Journal["onUnfinished"] = () => () => {};
  onReset: Journal["onReset"] = () => () => {};
  keepFor: Journal["keepFor"] = (reader) => {
    this.#readers.add(reader);
    return () => this.#readers.delete(reader);
  };

  get freeChannels(): number {
    return this.#channels.free;
  }

  finished(position: number): void {
    if (!this.#open.finished(position, this.#writer.deferredRows) || this.#openTimer !== undefined) return;
    this.#openTimer = setTimeout(() => {
      this.#openTimer = undefined;
      // If this write fails, the rows join a later write.
      if (this.#writer.deferredRows.size > 0 && this.#closing === undefined)
        this.#writer.flushDeferredRows().catch(() => {});
    }, BACKGROUND.openFlushDelayMs).unref();
  }

  async trim(): Promise<number> {
    this.#assertOpen();
    const trimming = this.#trimming.then(() => this.#trim());
    this.#trimming = trimming.catch(() => {});
    return await trimming;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #publish(group: Group): void {
    const { entries, spans, changes, publications, publicationBytes, skippedStateTopic, messages } = group;
    this.#head += entries.length;
    for (const span of spans) this.#channels.committed(span);
    this.#deduplicator.written(messages, true);
    this.#states.apply(changes);
    this.#recentEntries.push(entries);
    this.#publicationRows.add(this.#head, publicationBytes);
    this.#log.publish(publications, this.#head);
    for (const [index, { message }] of messages.entries())
      if (message.open !== undefined) this.#open.add(entries[index]?.position ?? 0);
    if (skippedStateTopic !== undefined) this.#warnOfFullStateTable(skippedStateTopic);
    this.#followers.call(entries);
    this.#untrimmedAppends += entries.length;
    if (this.#untrimmedAppends >= BACKGROUND.trimEveryAppends) this.#trimInBackground();
  }

  /** The entry has no channel and no body: followers of the journal and the archive pass over it. */
  async #appendForMqtt({ topic, incomingId, ...publish }: AppendedPublication): Promise<number> {
    const origin = { sender: "mqtt", id: undefined, session: undefined, seq: undefined };
    const entry = { topic, channels: [], camera: undefined, body: "", state: undefined, origin };
    // Without an id, no message is a duplicate.
    return (await this.append({ ...entry, publish, incomingId })).position ?? this.#head;
  }

  /**
   * Returns the correct value of a row after a failed write: for states and sessions, the value in memory. All other
   * rows must not exist.
   */
  #correctRow(key: string): string | undefined {
    if (key.startsWith("s")) return this.#states.row(key);
    return key.startsWith("q") ? this.#deduplicator.row(key, this.#head) : undefined;
  }

  #trimInBackground(): void {
    this.#untrimmedAppends = 0;
    this.trim().catch((err: unknown) => this.#settings.logger.debug({ err }, "retention failed, retrying later"));
  }

  #trim(): Promise<number> {
    return this.#retention.trim({
      db: () => this.#store.db,
      head: () => this.#head,
      unreadFrom: unreadFrom(this.#readers, this.#head),
      isClosing: () => this.#closing !== undefined,
      write: (set) => {
        this.#writer.deferredRows.add(set);
        return this.#writer.flushDeferredRows();
      },
    });
  }

  #checkpoint(closed: boolean): Promise<void> {
    const { logger } = this.#settings;
    if (this.#head === this.#checkpointHead && !closed) return this.#checkpointing;
    this.#checkpointHead = this.#head;
    this.#checkpointing = this.#checkpointing
      .then(() => this.#writeCheckpoint(closed))
      // On a full disk the checkpoint stays behind the store, which is allowed.
      .catch((err: unknown) => logger.debug({ err }, "checkpoint not written"));
    return this.#checkpointing;
  }

  #writeCheckpoint(closed: boolean): Promise<void> {
    const { path, sync, boot } = this.#settings;
    const checkpoint = { epoch: this.epoch, head: this.#head, closed, sync, ...(boot === undefined ? {} : { boot }) };
    return writeCheckpoint(path, { ...checkpoint, ...this.#run });
  }

  async #close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    clearTimeout(this.#openTimer);
    await this.#trimming;
    await this.#publications.idle();
    this.#rows.end();
    await this.#writer.idle();
    const rest = this.#writer.deferredRows;
    this.#rows.putChanged(rest);
    rest.put(HEAD_KEY, String(this.#head));
    try {
      await this.#store.ready();
      await this.#store.write(new WriteSet(), rest, true);
      await this.#checkpoint(true);
    } catch (err) {
      this.#settings.logger.warn({ err }, "journal not closed cleanly");
    }
    await this.#rows.close();
    await this.#store.close();
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new StoreUnavailableError("the journal is closed");
  }

  #warnOfFullStateTable(topic: string): void {
    if (this.#hasWarnedOfFullStateTable) return;
    this.#hasWarnedOfFullStateTable = true;
    this.#settings.logger.warn({ topic }, "too many retained topics, state of further topics is not stored");
  }
}
