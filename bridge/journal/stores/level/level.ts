// The store of the journal in LevelDB, for one node. Its parts:
//
// - `group-commit` queues appends and writes them; `group`, `chunk` and `publications` build the rows of one write.
// - `deduplicator` and `session-table` detect duplicates; `state-rows` stores the state.
// - `channel-logs` holds counts and floors of channels; `retention` removes old entries.
// - `pages` reads pages. `continuity` finds entries that a damaged store has lost.
// - `publication-log` and `publications` hold the publications for MQTT subscribers; `broker-rows` holds the broker's
//   sessions; `open-publications` holds the commands that the relay has not finished; `loading` and `checkpoint` open
//   the store.
//
// The steps of an append: `append` checks the channels and the duplicates, and queues the message. At the end of the
// turn of the event loop, the queue becomes one group with positions and rows, which LevelDB writes as one batch. Once
// the batch is durable, readers can read the group, the followers are called, and the appends resolve. Appends that
// arrive during the write form the next group.

import type { Logger } from "pino";
import type { Gap } from "../../../../contract/socket-messages.ts";
import type { OnDamage } from "../../../../platform/level/damage.ts";
import { Store } from "../../../../platform/level/store.ts";
import { WriteSet } from "../../../../platform/level/write-set.ts";
import { JournalView } from "../../core/journal-view.ts";
import { KnownGaps } from "../../core/known-gaps.ts";
import {
  assertRetention,
  DEFAULT_JOURNAL_LIMITS,
  type JournalLimits,
  type RetentionLimits,
} from "../../core/limits.ts";
import type { JournalStore, StoreOwner } from "../../core/store.ts";
import { StoredJournal } from "../../core/stored-journal.ts";
import type { Journal } from "../../journal.ts";
import type { ReferencedPreviews } from "../../preview-references.ts";
import { LevelBrokerRows } from "./broker-rows.ts";
import type { ChannelLogs } from "./channel-logs.ts";
import { beginRun, bootOfMachine, type Checkpoint, writeCheckpoint } from "./checkpoint.ts";
import type { Deduplicator } from "./deduplicator.ts";
import { LevelEarlierRows } from "./earlier-rows.ts";
import type { Group, Waiting } from "./group.ts";
import { GroupCommit } from "./group-commit.ts";
import { HEAD_KEY } from "./keys.ts";
import { type LoadedJournal, loadJournal } from "./loading.ts";
import { OpenPublications } from "./open-publications.ts";
import { LevelPages } from "./pages.ts";
import { LevelPublications } from "./publication-log.ts";
import { Retention } from "./retention.ts";
import { stateRow } from "./state-rows.ts";

export { DEFAULT_JOURNAL_LIMITS, type JournalLimits } from "../../core/limits.ts";

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
  return await new StoredJournal((owner) => new LevelStore(owner, loaded, knownGaps, settings), settings).start();
}

/** Reports a gap that was not known when the journal was opened. */
function reportGap(channel: string, { after, before }: Gap, { logger, onDamage, path }: Settings): void {
  const missing = `events of ${channel || "no channel"} are missing between the positions ${after} and ${before}`;
  logger.error({ channel, after, before }, "journal is damaged: events are missing, the gap is reported to readers");
  onDamage({ store: "journal", found: `${path} cannot be read completely`, missing });
}

interface Settings extends LevelJournalOptions {
  onDamage: OnDamage;
  now: () => number;
  limits: JournalLimits;
  boot: string | undefined;
}

class LevelStore implements JournalStore {
  readonly #settings: Settings;
  readonly #owner: StoreOwner;
  readonly #channels: ChannelLogs;
  readonly #deduplicator: Deduplicator<Waiting>;
  readonly #store: Store;
  readonly #writer: GroupCommit;
  readonly #retention: Retention;
  readonly #open = new OpenPublications();
  readonly view: JournalView;
  readonly pages: LevelPages;
  readonly publications: LevelPublications;
  readonly rows: LevelBrokerRows;
  readonly earlier: LevelEarlierRows;
  /** The newest position of the earlier runs. */
  readonly #startHead: number;
  #checkpointing: Promise<void> = Promise.resolve();
  #checkpointHead = -1;
  /** The fields about this run in every checkpoint. */
  #run: Partial<Checkpoint> = {};
  #checkpointTimer: NodeJS.Timeout | undefined;

  constructor(owner: StoreOwner, loaded: LoadedJournal, knownGaps: KnownGaps, settings: Settings) {
    const { db, channels, deduplicator, states, head, publications } = loaded;
    const { path, sync, logger, limits, now, previews } = settings;
    const { maxRecentChars } = limits;
    this.#settings = settings;
    this.#owner = owner;
    this.#channels = channels;
    this.#deduplicator = deduplicator;
    this.view = new JournalView({ epoch: channels.epoch, head, channels, states, publications, maxRecentChars });
    this.#startHead = head;
    this.#retention = new Retention(channels, settings);
    const truth = (key: string) => this.#correctRow(key);
    const proof = (set: WriteSet) => set.put(HEAD_KEY, String(this.view.head));
    // Retained messages are not in memory.
    const isRestored = (key: string) => key.startsWith("r");
    const store = new Store(db, { path, sync, logger, truth, proof, isRestored });
    this.#store = store;
    this.pages = new LevelPages(channels, store, knownGaps);
    const writer = () => this.#writer;
    this.rows = new LevelBrokerRows({ db: () => store.db, writer, path, nextVersion: loaded.nextRowVersion, logger });
    this.publications = new LevelPublications({ view: this.view, store, writer, previews, logger });
    this.earlier = new LevelEarlierRows({
      ...{ store, writer, rows: this.rows, logger, view: this.view },
      append: (publication) => owner.mqtt.append(publication),
    });
    this.#writer = new GroupCommit({
      ...{ store, channels, deduplicator, view: this.view, limits, now },
      putChanged: (set) => this.rows.putChanged(set),
      onDurable: (group) => this.#publish(group),
    });
  }

  async start(): Promise<void> {
    const { path, logger } = this.#settings;
    await beginRun(path, async (part) => {
      this.#run = part;
      await this.#writeCheckpoint(false);
    }).catch((err: unknown) => logger.debug({ err }, "checkpoint not written"));
    this.#checkpointTimer = setInterval(() => void this.#checkpoint(false), CHECKPOINT_INTERVAL_MS).unref();
  }

  get unavailableReason(): string | undefined {
    return this.#store.unavailableReason;
  }

  append: JournalStore["append"] = (message, resolve, reject) => this.#writer.append(message, resolve, reject);
  incomingIds: JournalStore["incomingIds"] = () => this.rows.incomingIds();
  removeIncomingIds: JournalStore["removeIncomingIds"] = (ids) => this.rows.removeIncomingIds(ids);
  finished: JournalStore["finished"] = (position) => this.#open.finished(position, this.#writer.deferredRows);
  flushFinished: JournalStore["flushFinished"] = () => this.#writer.flushDeferredRows();
  unfinished: JournalStore["unfinished"] = () => this.#open.unfinished(this.#store, this.#startHead);

  #publish(group: Group): void {
    const { entries, spans, changes, publications, publicationBytes, skippedStateTopic, messages } = group;
    for (const span of spans) this.#channels.committed(span);
    this.#deduplicator.written(messages, true);
    this.view.apply(entries, changes);
    this.view.publications.add(this.view.head, publicationBytes);
    for (const [index, { message }] of messages.entries())
      if (message.open !== undefined) this.#open.add(entries[index]?.position ?? 0);
    this.#owner.publish(entries, publications, skippedStateTopic);
    this.#owner.appended(entries.length);
  }

  /**
   * Returns the correct value of a row after a failed write: for states and sessions, the value in memory. All other
   * rows must not exist.
   */
  #correctRow(key: string): string | undefined {
    const state = key.startsWith("s") ? this.view.states.get(key.slice(1)) : undefined;
    if (state !== undefined) return stateRow(state);
    return key.startsWith("q") ? this.#deduplicator.row(key, this.view.head) : undefined;
  }

  trim: JournalStore["trim"] = (readers) =>
    this.#retention.trim({
      db: () => this.#store.db,
      head: () => this.view.head,
      readers,
      isClosing: () => this.#owner.isClosing,
      write: (set) => {
        this.#writer.deferredRows.add(set);
        return this.#writer.flushDeferredRows();
      },
    });

  #checkpoint(closed: boolean): Promise<void> {
    const { logger } = this.#settings;
    if (this.view.head === this.#checkpointHead && !closed) return this.#checkpointing;
    this.#checkpointHead = this.view.head;
    this.#checkpointing = this.#checkpointing
      .then(() => this.#writeCheckpoint(closed))
      // On a full disk the checkpoint stays behind the store, which is allowed.
      .catch((err: unknown) => logger.debug({ err }, "checkpoint not written"));
    return this.#checkpointing;
  }

  #writeCheckpoint(closed: boolean): Promise<void> {
    const { path, sync, boot } = this.#settings;
    const checkpoint = {
      epoch: this.view.epoch,
      head: this.view.head,
      closed,
      sync,
      ...(boot === undefined ? {} : { boot }),
    };
    return writeCheckpoint(path, { ...checkpoint, ...this.#run });
  }

  async idle(): Promise<void> {
    clearInterval(this.#checkpointTimer);
    await this.publications.idle();
    this.rows.end();
    await this.#writer.idle();
  }

  async close(): Promise<void> {
    const rest = this.#writer.deferredRows;
    this.rows.putChanged(rest);
    rest.put(HEAD_KEY, String(this.view.head));
    try {
      await this.#store.ready();
      await this.#store.write(new WriteSet(), rest, true);
      await this.#checkpoint(true);
    } finally {
      await this.rows.close();
      await this.#store.close();
    }
  }
}
