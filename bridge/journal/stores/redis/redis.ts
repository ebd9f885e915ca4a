// The journal in Redis, for any number of nodes. Its parts:
//
// - `scripts/` holds the Lua scripts: each changes the journal atomically. `keys` describes the keys of the journal.
// - `writer` queues appends and sends them as a `batch`; `chunk`, `publications` and `dedup-key` encode the batch.
// - `log-reader` reads what other nodes append; `publisher` passes all entries to the followers in the log's order.
// - `journal-view` is the memory of this node: channels, state and recent entries. `loading` fills it.
// - `pages` reads older entries; `retention` removes old entries; `health` says why the journal is unavailable.
// - `publication-log` and `publication-rows` hold the publications for MQTT subscribers; `broker-rows` holds the broker's
//   sessions; `mqtt-log` puts them together. `open-publications` holds the commands that the relay has not finished;
//   `earlier-rows` takes over what versions before the log have left.
// - `upkeep` follows each heartbeat of this node, and claims the commands of dead nodes.
//
// The steps of an append: `append` checks the channels and queues the message. At the end of the turn of the event
// loop, the queue becomes one batch. The script APPEND checks it for duplicates, assigns positions and writes the
// entries. Once all entries before the batch are published, the batch is published: the view is updated, the followers
// are called, and the appends resolve. Usually the script's reply triggers this; otherwise reading the log does.

import type { Logger } from "pino";
import type { Since } from "../../../../contract/socket-messages.ts";
import { StoreUnavailableError } from "../../../../platform/errors.ts";
import { Listeners } from "../../../../platform/listeners.ts";
import type { RedisConnections } from "../../../../platform/redis/connections.ts";
import { redisFailureReason } from "../../../../platform/redis/failure-reason.ts";
import type { Membership } from "../../../../platform/redis/membership.ts";
import { PageReader } from "../../core/page-reader.ts";
import { StoredPublicationLog } from "../../core/publication-log.ts";
import type { Appended, Entry, Journal, JournalMessage, Recovery } from "../../journal.ts";
import type { ReferencedPreviews } from "../../preview-references.ts";
import { warnOfSkippedStates } from "../level/loading.ts";
import { assertRetention, BACKGROUND, type RetentionLimits } from "../limits.ts";
import { RedisBrokerRows } from "./broker-rows.ts";
import { Connection } from "./connection.ts";
import { RedisEarlierRows } from "./earlier-rows.ts";
import { Health } from "./health.ts";
import { type JournalKeys, journalKeys } from "./keys.ts";
import { DEFAULT_REDIS_JOURNAL_LIMITS, type RedisJournalLimits } from "./limits.ts";
import { type Loaded, load, renewEpoch } from "./loading.ts";
import { LogReader } from "./log-reader.ts";
import { RedisMqttLog } from "./mqtt-log.ts";
import { OpenPublications } from "./open-publications.ts";
import { RedisPages } from "./pages.ts";
import { RedisPublications } from "./publication-log.ts";
import { Publisher } from "./publisher.ts";
import { Retention } from "./retention.ts";
import { Upkeep } from "./upkeep.ts";
import { Writer, type WriterContext } from "./writer.ts";

const DEFAULT_WAITS = {
  /** How long a command waits for its reply. After that, Redis is regarded as unavailable. */
  commandTimeoutMs: 5_000,
  openTimeoutMs: 15_000,
  /** How long Redis blocks a read of the log when nothing is new. */
  blockMs: 1_000,
};

export interface RedisJournalOptions extends RetentionLimits {
  redis: RedisConnections;
  logger: Logger;
  /** This node and the other ones. One journal at a time may use it. */
  membership: Membership;
  /** The pictures of publications that name previews. Default: subscribers who were away get no previews. */
  previews?: ReferencedPreviews;
  now?: () => number;
  limits?: Partial<RedisJournalLimits>;
  /** Timeouts and intervals, milliseconds. Default: {@link DEFAULT_WAITS}. */
  waits?: Partial<typeof DEFAULT_WAITS>;
}

interface Settings extends RedisJournalOptions {
  now: () => number;
  limits: RedisJournalLimits;
  waits: typeof DEFAULT_WAITS;
}

/**
 * Opens the journal, or creates it. Any number of nodes may have it open.
 * @throws {RangeError} the retention would keep no entries
 * @throws {StoreUnavailableError} Redis is unreachable or unusable
 */
export async function openRedisJournal(options: RedisJournalOptions): Promise<Journal> {
  assertRetention(options);
  const settings: Settings = {
    ...options,
    logger: options.logger.child({ part: "journal" }),
    now: options.now ?? Date.now,
    limits: { ...DEFAULT_REDIS_JOURNAL_LIMITS, ...options.limits },
    waits: { ...DEFAULT_WAITS, ...options.waits },
  };
  const { redis, limits, waits, retentionEvents } = settings;
  const keys = journalKeys(redis.prefix);
  const writing = new Connection(redis, "journal", waits.commandTimeoutMs);
  const reading = new Connection(redis, "journal-read", waits.commandTimeoutMs);
  try {
    await Promise.all([writing.ready(waits.openTimeoutMs), reading.ready(waits.openTimeoutMs)]);
    const loaded = await load(reading, keys, limits, retentionEvents);
    warnOfSkippedStates(loaded.view.states, settings.logger);
    const journal = new RedisJournal(loaded, { writing, reading, keys }, settings);
    await journal.start();
    return journal;
  } catch (error) {
    writing.close();
    reading.close();
    throw error;
  }
}

/**
 * Begins a new epoch after Redis was restored from a copy: clients may have received events that are missing in the copy.
 * @returns false if Redis has no journal @throws {StoreUnavailableError} Redis is unreachable
 */
export async function beginNewEpoch(redis: RedisConnections): Promise<boolean> {
  const keys = journalKeys(redis.prefix);
  const connection = new Connection(redis, "journal", DEFAULT_WAITS.commandTimeoutMs);
  try {
    await connection.ready(DEFAULT_WAITS.openTimeoutMs);
    const [epoch] = await connection.do((client) => client.hmget(keys.meta, "epoch"));
    if (typeof epoch !== "string") return false;
    await renewEpoch(connection, keys, epoch);
    return true;
  } finally {
    connection.close();
  }
}

interface Links {
  /** For appends, retention and upkeep. */
  writing: Connection;
  /** For pages, which may take longer. */
  reading: Connection;
  keys: JournalKeys;
}

class RedisJournal implements Journal {
  readonly #settings: Settings;
  readonly #links: Links;
  readonly #health: Health;
  readonly #open: OpenPublications;
  readonly #publications: RedisPublications;
  readonly #publicationLog: StoredPublicationLog;
  readonly #rows: RedisBrokerRows;
  readonly mqtt: RedisMqttLog;
  readonly #writer: Writer;
  readonly #publisher: Publisher;
  readonly #log: LogReader;
  readonly #pages: PageReader;
  readonly #retention: Retention;
  readonly #upkeep: Upkeep;
  readonly #followers: Listeners<[entries: readonly Entry[]]>;
  readonly #resetListeners: Listeners<[]>;
  readonly #unfinishedListeners: Listeners<[]>;
  #loaded: Loaded;
  #reloading: Promise<void> | undefined;
  #untrimmedAppends = 0;
  #trimTimer: NodeJS.Timeout | undefined;
  #openTimer: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;

  constructor(loaded: Loaded, links: Links, settings: Settings) {
    const { redis, waits, logger, membership } = settings;
    const { writing, reading, keys } = links;
    this.#settings = settings;
    this.#links = links;
    this.#loaded = loaded;
    this.#health = new Health(logger);
    this.#followers = new Listeners(logger);
    this.#resetListeners = new Listeners(logger);
    this.#unfinishedListeners = new Listeners(logger);
    const run = membership.nodeId;
    const health = this.#health;
    const view = () => this.#loaded.view;
    const open = new OpenPublications(run, keys);
    const { previews } = settings;
    const publications = new RedisPublications({
      ...{ reading, writing, keys, run, view, previews, logger },
      members: membership.key,
      rowChange: () => this.#rows.known,
    });
    const onFollowed = () => this.#rows.advance();
    const log = new StoredPublicationLog({ store: publications, view, previews, onFollowed, logger });
    this.#rows = new RedisBrokerRows({
      ...{ writing, reading, keys, run, membership, logger },
      epoch: () => this.epoch,
      head: () => log.head,
      onGap: () => log.reset(),
    });
    log.onReset(() => {
      publications.reset();
      this.#rows.reset();
    });
    const context: WriterContext = {
      ...{ connection: writing, keys, run, open, publications, view },
      onJournalChanged: (isRolledBack) => this.#reload(isRolledBack),
      onFailed: (error) => health.failed("writing", error),
      onWorked: () => health.worked("writing"),
    };
    this.#open = open;
    this.#publications = publications;
    this.#publicationLog = log;
    const append: Journal["append"] = (message) => this.append(message);
    const earlier = new RedisEarlierRows({
      ...{ connection: writing, keys, append, logger },
      isSuperseded: (topic, position, isClear) => this.#isSuperseded(topic, position, isClear),
    });
    this.mqtt = new RedisMqttLog({ publications: log, rows: this.#rows, earlier, append, connection: writing, keys });
    this.#publisher = new Publisher({
      ...{ run, open, log, view, followers: this.#followers, logger },
      writer: () => this.#writer,
      onOrphan: () => this.#unfinishedListeners.call(),
      onAppended: (count) => this.#countAppends(count),
    });
    this.#writer = new Writer({
      ...settings,
      ...context,
      refusal: () => this.#refusal(),
      onAppended: (batch, base, previous) => this.#publisher.appended(batch, base, previous),
    });
    this.#log = new LogReader({
      ...{ redis, keys, ...waits, logger },
      cursor: () => ({ epoch: this.epoch, head: this.head, trimsId: this.#loaded.trimsId }),
      withoutPublications: (chunks) => this.#publisher.withoutPublications(chunks),
      publicationsOf: (chunks, connection) => publications.publicationsOf(chunks, connection),
      onChunks: (chunks, publications) => this.#publisher.arrived(chunks, publications),
      onFloors: (floors) => view().channels.moved(floors),
      rows: this.#rows,
      onPublicationFloor: (floor, bytes) => view().publications.trimmed(floor, bytes),
      onCompacted: (by, upTo, bytes, removedBytes) => {
        view().publications.trimmed(0, removedBytes);
        if (by !== run) log.compacted(upTo, bytes);
      },
      onJournalChanged: (continuity) => this.#reload(continuity === "rolled-back"),
      onFailed: (error) => health.failed("reading", error),
      onWorked: () => health.worked("reading"),
    });
    this.#pages = new PageReader(new RedisPages(reading, keys, () => view().channels, logger));
    this.#retention = new Retention({
      ...settings,
      ...context,
      nodeName: membership.name,
      isClosing: () => this.#closing !== undefined,
    });
    const onClaimed = () => this.#unfinishedListeners.call();
    this.#upkeep = new Upkeep({ ...context, membership, onClaimed });
  }

  async start(): Promise<void> {
    const { redis } = this.#links.writing;
    await this.#upkeep.start();
    await this.#retention.schedule(this.#loaded.excess);
    redis.on("close", () => this.#health.failed("writing", new Error("Connection is closed.")));
    redis.on("ready", () => this.#upkeep.run());
    await this.#rows.start();
    this.#log.start();
    this.#trimTimer = setInterval(() => this.#trimInBackground(), BACKGROUND.trimIntervalMs).unref();
  }

  get epoch(): string {
    return this.#loaded.view.epoch;
  }

  get head(): number {
    return this.#loaded.view.head;
  }

  get unavailableReason(): string | undefined {
    return this.#closing === undefined ? this.#health.unavailableReason : "the journal is closed";
  }

  follow: Journal["follow"] = (onEntries) => this.#followers.add(onEntries);
  snapshot: Journal["snapshot"] = (channel) => this.#loaded.view.states.snapshot(channel);
  state: Journal["state"] = (topic) => this.#loaded.view.states.get(topic);
  hasChannel: Journal["hasChannel"] = (channel) => this.#loaded.view.channels.get(channel) !== undefined;
  channelNames: Journal["channelNames"] = () => this.#loaded.view.channels.names();
  unfinished: Journal["unfinished"] = () => this.#open.unfinished(this.#links.reading);
  onUnfinished: Journal["onUnfinished"] = (listener) => this.#unfinishedListeners.add(listener);
  onReset: Journal["onReset"] = (listener) => this.#resetListeners.add(listener);

  keepFor: Journal["keepFor"] = (reader) => this.#retention.keepFor(reader);

  get freeChannels(): number {
    return this.#loaded.view.channels.free;
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
    return await this.#pages.replay(request, this.#loaded.view);
  };

  read: Journal["read"] = async (request) => {
    this.#assertOpen();
    return await this.#pages.read(request, this.#loaded.view);
  };

  recovery(channel: string, since: Since): Recovery {
    return this.#loaded.view.channels.recovery(channel, since, this);
  }

  finished(position: number): void {
    if (!this.#open.finished(position) || this.#openTimer !== undefined) return;
    this.#openTimer = setTimeout(() => {
      this.#openTimer = undefined;
      // If this write fails, the updates join a later write.
      if (this.#closing === undefined) this.#open.flush(this.#links.writing).catch(() => {});
    }, BACKGROUND.openFlushDelayMs).unref();
  }

  async trim(): Promise<number> {
    this.#assertOpen();
    return await this.#retention.trim();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Replaces the view, because Redis holds another journal or because this node missed entries. */
  #reload(isRolledBack: boolean): Promise<void> {
    this.#reloading ??= this.#reloadOnce(isRolledBack).finally(() => {
      this.#reloading = undefined;
    });
    return this.#reloading;
  }

  async #reloadOnce(isRolledBack: boolean): Promise<void> {
    const { reading, keys } = this.#links;
    const { limits, retentionEvents, logger } = this.#settings;
    const before = this.#loaded.view;
    if (isRolledBack) await renewEpoch(reading, keys, before.epoch);
    const loaded = await load(reading, keys, limits, retentionEvents);
    warnOfSkippedStates(loaded.view.states, logger);
    const { epoch, head } = loaded.view;
    const isOther = epoch !== before.epoch;
    if (isOther) await this.#open.reset(reading, head);
    else await this.#publicationLog.continueTo(loaded.view);
    this.#loaded = loaded;
    for (const batch of this.#writer.abandonSent()) {
      const base = this.#publisher.bases.get(batch);
      if (base === undefined || isOther) continue;
      this.#open.addOrphan(base + 1, base + batch.size);
    }
    logger.warn(
      { epoch, head, before: { epoch: before.epoch, head: before.head } },
      isOther
        ? "acknowledged events are lost: redis holds another journal, or lost a part of this one"
        : "node was disconnected from redis for longer than events are kept",
    );
    this.#resetListeners.call();
    if (isOther) this.#publicationLog.reset();
    this.#unfinishedListeners.call();
    await this.#retention.schedule(loaded.excess);
  }

  #countAppends(count: number): void {
    this.#untrimmedAppends += count;
    if (this.#untrimmedAppends >= BACKGROUND.trimEveryAppends) this.#trimInBackground();
  }

  #trimInBackground(): void {
    this.#untrimmedAppends = 0;
    if (this.#closing !== undefined) return;
    this.trim().catch((err: unknown) => this.#settings.logger.debug({ err }, "retention failed, retrying later"));
  }

  #isSuperseded(topic: string, position: number, isClear: boolean): boolean {
    const last = this.state(topic)?.position ?? 0;
    // A clear removes the state. So after a `set` at `position`, a missing or older state means that a clear came
    // later.
    return last > position || (!isClear && last < position && position <= this.head);
  }

  #refusal(): string | undefined {
    if (this.#links.writing.isReady) return undefined;
    return this.#health.unavailableReason ?? redisFailureReason(new Error("Connection is closed."));
  }

  async #close(): Promise<void> {
    const { writing, reading } = this.#links;
    clearInterval(this.#trimTimer);
    clearTimeout(this.#openTimer);
    this.#health.close();
    await Promise.all([this.#retention.idle(), this.#publications.idle()]);
    await this.#rows.close();
    await this.#upkeep.stop();
    await this.#writer.idle();
    try {
      await this.#open.flush(writing);
    } catch (err) {
      this.#settings.logger.warn({ err }, "journal not closed cleanly");
    }
    await this.#log.stop();
    writing.close();
    reading.close();
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new StoreUnavailableError("the journal is closed");
  }
}
