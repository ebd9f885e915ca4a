import { randomBytes } from "node:crypto";
import type { Logger } from "pino";
import { StoreUnavailableError } from "../../../../platform/errors.ts";
import { Listeners } from "../../../../platform/listeners.ts";
import type { RedisConnections } from "../../../../platform/redis/connections.ts";
import { redisFailureReason } from "../../../../platform/redis/failure-reason.ts";
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
} from "../../journal.ts";
import { warnOfSkippedStates } from "../level/loading.ts";
import { Connection } from "./connection.ts";
import { Health } from "./health.ts";
import { Heartbeat } from "./heartbeat.ts";
import { type JournalKeys, journalKeys } from "./keys.ts";
import { DEFAULT_REDIS_JOURNAL_LIMITS, type RedisJournalLimits } from "./limits.ts";
import { type Loaded, load, renewEpoch } from "./loading.ts";
import { LogReader } from "./log-reader.ts";
import { MqttOutbox } from "./mqtt-outbox.ts";
import { PageReader } from "./pages.ts";
import { Publisher } from "./publisher.ts";
import { Retention } from "./retention.ts";
import { Writer } from "./writer.ts";

export { DEFAULT_REDIS_JOURNAL_LIMITS, type RedisJournalLimits } from "./limits.ts";

/** Retention runs after so many appends of this node … */
const TRIM_EVERY_APPENDS = 1_000;
/** … and so often, for what grows old without an append. */
const TRIM_INTERVAL_MS = 60_000;
/** How long reports of emission wait for an append to join before they are written by themselves. */
const OUTBOX_FLUSH_DELAY_MS = 200;

export interface RedisJournalWaits {
  /** How long Redis may take to answer before it is taken to hang. */
  commandTimeoutMs: number;
  /** How long opening waits for Redis. */
  openTimeoutMs: number;
  /** How long a read of the log is held back by Redis when there is nothing new. */
  blockMs: number;
  /** The time between two signs of life of this node. */
  heartbeatMs: number;
  /** A node that gave none for so long is dead, and others emit what it had not. */
  deadAfterMs: number;
}

export const DEFAULT_REDIS_JOURNAL_WAITS: RedisJournalWaits = {
  commandTimeoutMs: 5_000,
  openTimeoutMs: 15_000,
  blockMs: 1_000,
  heartbeatMs: 2_000,
  deadAfterMs: 10_000,
};

export interface RedisJournalOptions {
  redis: RedisConnections;
  /** The most entries a channel keeps; Infinity for no limit. */
  retentionEvents: number;
  /** The longest a channel keeps an entry, hours; Infinity for no limit. */
  retentionHours: number;
  logger: Logger;
  /**
   * A name of this node that stays over restarts, of one process at a time: what its last run did not emit is then
   * taken over at once, not after `deadAfterMs`. Default: none.
   */
  nodeName?: string;
  /** The time, milliseconds since 1970. Default: `Date.now`. */
  now?: () => number;
  /** Default: {@link DEFAULT_REDIS_JOURNAL_LIMITS}. */
  limits?: Partial<RedisJournalLimits>;
  /** Default: {@link DEFAULT_REDIS_JOURNAL_WAITS}. */
  waits?: Partial<RedisJournalWaits>;
}

interface Settings extends RedisJournalOptions {
  now: () => number;
  limits: RedisJournalLimits;
  waits: RedisJournalWaits;
}

/**
 * Opens the journal in Redis, and makes it if there is none. Any number of nodes may have it open.
 * @throws {RangeError} a retention that would keep nothing
 * @throws {StoreUnavailableError} Redis cannot be reached, or used
 */
export async function openRedisJournal(options: RedisJournalOptions): Promise<Journal> {
  if (!(options.retentionEvents >= 1)) throw new RangeError("retentionEvents must be at least 1");
  if (!(options.retentionHours > 0)) throw new RangeError("retentionHours must be more than 0");
  const settings: Settings = {
    ...options,
    logger: options.logger.child({ part: "journal" }),
    now: options.now ?? Date.now,
    limits: { ...DEFAULT_REDIS_JOURNAL_LIMITS, ...options.limits },
    waits: { ...DEFAULT_REDIS_JOURNAL_WAITS, ...options.waits },
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

interface Links {
  /** Appends, retention and signs of life, in order. */
  writing: Connection;
  /** Pages, which may take a while. */
  reading: Connection;
  keys: JournalKeys;
}

class RedisJournal implements Journal {
  readonly #settings: Settings;
  readonly #links: Links;
  readonly #health: Health;
  readonly #mqttOutbox: MqttOutbox;
  readonly #writer: Writer;
  readonly #publisher: Publisher;
  readonly #log: LogReader;
  readonly #pages: PageReader;
  readonly #retention: Retention;
  readonly #heartbeat: Heartbeat;
  readonly #followers: Listeners<[entries: readonly Entry[]]>;
  readonly #resetListeners: Listeners<[]>;
  readonly #undeliveredListeners: Listeners<[]>;
  #loaded: Loaded;
  #reloading: Promise<void> | undefined;
  #untrimmedAppends = 0;
  #trimTimer: NodeJS.Timeout | undefined;
  #outboxTimer: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;

  constructor(loaded: Loaded, links: Links, settings: Settings) {
    const { redis, limits, waits, logger, nodeName = "" } = settings;
    const { writing, reading, keys } = links;
    this.#settings = settings;
    this.#links = links;
    this.#loaded = loaded;
    this.#health = new Health(logger);
    this.#followers = new Listeners(logger);
    this.#resetListeners = new Listeners(logger);
    this.#undeliveredListeners = new Listeners(logger);
    // Random, new at each start.
    const run = randomBytes(9).toString("base64url");
    const health = this.#health;
    const view = () => this.#loaded.view;
    const onJournalChanged = (lost: boolean) => this.#reload(lost);
    const isSuperseded = (topic: string, position: number, isClear: boolean) =>
      this.#isSuperseded(topic, position, isClear);
    this.#mqttOutbox = new MqttOutbox({ run, keys, maxBatches: limits.maxUndeliveredBatches, isSuperseded });
    const mqttOutbox = this.#mqttOutbox;
    this.#publisher = new Publisher({
      run,
      mqttOutbox,
      view,
      writer: () => this.#writer,
      followers: this.#followers,
      onOrphan: () => this.#undeliveredListeners.call(),
      onAppended: (count) => this.#countAppends(count),
      logger,
    });
    this.#writer = new Writer({
      ...settings,
      connection: writing,
      keys,
      run,
      mqttOutbox,
      view,
      refusal: () => this.#refusal(),
      onAppended: (batch, base, previous) => this.#publisher.appended(batch, base, previous),
      onJournalChanged,
      onFailed: (error) => health.writeFailed(error),
      onWorked: () => health.writeWorked(),
    });
    this.#log = new LogReader({
      redis,
      keys,
      ...waits,
      place: () => ({ epoch: this.epoch, head: this.head, trimsId: this.#loaded.trimsId }),
      onChunks: (chunks) => this.#publisher.arrived(chunks),
      onFloors: (floors) => view().channels.moved(floors),
      onJournalChanged: (fit) => this.#reload(fit === "rolled-back"),
      onFailed: (error) => health.readFailed(error),
      onWorked: () => health.readWorked(),
      logger,
    });
    this.#pages = new PageReader(reading, keys);
    this.#retention = new Retention({
      ...settings,
      connection: writing,
      keys,
      view,
      isClosing: () => this.#closing !== undefined,
      onJournalChanged: () => this.#reload(false),
    });
    this.#heartbeat = new Heartbeat({
      connection: writing,
      keys,
      run,
      nodeName,
      intervalMs: waits.heartbeatMs,
      deadAfterMs: waits.deadAfterMs,
      mqttOutbox,
      view,
      onFailed: (error) => health.writeFailed(error),
      onWorked: () => health.writeWorked(),
      onTakenOver: () => this.#undeliveredListeners.call(),
      onJournalChanged,
    });
  }

  async start(): Promise<void> {
    const { redis } = this.#links.writing;
    await this.#heartbeat.start();
    await this.#retention.expect(this.#loaded.excess);
    redis.on("close", () => this.#health.writeFailed(new Error("Connection is closed.")));
    redis.on("ready", () => this.#heartbeat.beat());
    this.#log.start();
    this.#trimTimer = setInterval(() => this.#trimInBackground(), TRIM_INTERVAL_MS).unref();
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

  hasChannel(channel: string): boolean {
    return this.#loaded.view.channels.has(channel);
  }

  channelNames(): Iterable<string> {
    return this.#loaded.view.channels.names();
  }

  get freeChannels(): number {
    return this.#loaded.view.channels.free;
  }

  append(message: JournalMessage): Promise<Appended> {
    return new Promise((resolve, reject) => {
      // Thrown in here, it rejects the promise.
      this.#assertOpen();
      this.#writer.append(message, resolve, reject);
    });
  }

  follow(onEntries: (entries: readonly Entry[]) => void): () => void {
    return this.#followers.add(onEntries);
  }

  async replay(request: ReplayRequest): Promise<ReplayPage> {
    this.#assertOpen();
    return await this.#pages.replay(request, this.#loaded.view);
  }

  recovery(channel: string, since: { epoch: string; position: number }): Recovery {
    return this.#loaded.view.channels.recovery(channel, since, this.epoch, this.head);
  }

  snapshot(channel: string): readonly StateEntry[] {
    return this.#loaded.view.states.snapshot(channel);
  }

  state(topic: string): StateEntry | undefined {
    return this.#loaded.view.states.get(topic);
  }

  delivered(position: number): void {
    if (!this.#mqttOutbox.delivered(position) || this.#outboxTimer !== undefined) return;
    this.#outboxTimer = setTimeout(() => {
      this.#outboxTimer = undefined;
      // What cannot be written now goes with a later write.
      if (this.#closing === undefined) this.#mqttOutbox.flush(this.#links.writing).catch(() => {});
    }, OUTBOX_FLUSH_DELAY_MS).unref();
  }

  undelivered(): AsyncIterable<Undelivered> {
    return this.#mqttOutbox.undelivered(this.#links.reading);
  }

  onUndelivered(listener: () => void): () => void {
    return this.#undeliveredListeners.add(listener);
  }

  onReset(listener: () => void): () => void {
    return this.#resetListeners.add(listener);
  }

  async trim(): Promise<number> {
    this.#assertOpen();
    return await this.#retention.trim();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** The journal is another one, or went on without this node: what is known of it is loaded anew. */
  #reload(lost: boolean): Promise<void> {
    this.#reloading ??= this.#reloadOnce(lost).finally(() => {
      this.#reloading = undefined;
    });
    return this.#reloading;
  }

  async #reloadOnce(lost: boolean): Promise<void> {
    const { reading, keys } = this.#links;
    const { limits, retentionEvents, logger } = this.#settings;
    const before = this.#loaded.view;
    if (lost) await renewEpoch(reading, keys, before.epoch);
    const loaded = await load(reading, keys, limits, retentionEvents);
    warnOfSkippedStates(loaded.view.states, logger);
    const { epoch, head } = loaded.view;
    const isOther = epoch !== before.epoch;
    const ownRows = isOther ? await this.#mqttOutbox.ownRows(reading) : [];
    this.#loaded = loaded;
    if (isOther) this.#mqttOutbox.reset();
    for (const base of ownRows) this.#mqttOutbox.addOrphan(base);
    for (const batch of this.#writer.abandonSent()) {
      const base = this.#publisher.baseOf(batch);
      if (base !== undefined && !isOther) this.#mqttOutbox.addOrphan(base);
    }
    logger.warn(
      { epoch, head, before: { epoch: before.epoch, head: before.head } },
      isOther
        ? "events that were acknowledged are lost: redis holds another journal, or less of this one"
        : "this node was cut off from redis for longer than events are kept",
    );
    this.#resetListeners.call();
    this.#undeliveredListeners.call();
    await this.#retention.expect(loaded.excess);
  }

  #countAppends(count: number): void {
    this.#untrimmedAppends += count;
    if (this.#untrimmedAppends >= TRIM_EVERY_APPENDS) this.#trimInBackground();
  }

  #trimInBackground(): void {
    this.#untrimmedAppends = 0;
    if (this.#closing !== undefined) return;
    this.trim().catch((err: unknown) => this.#settings.logger.debug({ err }, "retention was put off"));
  }

  /** Whether something newer was said on a retained topic than what `position` set, or cleared. */
  #isSuperseded(topic: string, position: number, isClear: boolean): boolean {
    const last = this.state(topic)?.position ?? 0;
    // After a clear there is nothing that could be later but a new value.
    return last > position || (!isClear && last < position && position <= this.head);
  }

  /** Why an append need not be tried. */
  #refusal(): string | undefined {
    if (this.#links.writing.isReady) return undefined;
    return this.#health.unavailableReason ?? redisFailureReason(new Error("Connection is closed."));
  }

  async #close(): Promise<void> {
    const { writing, reading } = this.#links;
    clearInterval(this.#trimTimer);
    clearTimeout(this.#outboxTimer);
    this.#health.close();
    await this.#retention.idle();
    await this.#heartbeat.stop();
    await this.#writer.idle();
    try {
      await this.#mqttOutbox.flush(writing);
      await this.#mqttOutbox.leave(writing);
    } catch (err) {
      this.#settings.logger.warn({ err }, "journal was closed in trouble");
    }
    await this.#log.stop();
    writing.close();
    reading.close();
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new StoreUnavailableError("the journal is closed");
  }
}
