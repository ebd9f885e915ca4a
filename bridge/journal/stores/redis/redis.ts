// The store of the journal in Redis, for any number of nodes. Its parts:
//
// - `scripts/` holds the Lua scripts: each changes the journal atomically. `keys` describes the keys of the journal.
// - `writer` queues appends and sends them as a `batch`; `chunk`, `publications` and `dedup-key` encode the batch.
// - `log-reader` reads what other nodes append; `publisher` passes all entries to the followers in the log's order.
// - `redis-view` is the memory of this node: channels, state and recent entries. `loading` fills it.
// - `pages` reads older entries; `retention` removes old entries.
// - `publication-log` and `publication-rows` hold the publications for MQTT subscribers; `broker-rows` holds the broker's
//   sessions; `open-publications` holds the commands that the relay has not finished; `earlier-rows` takes over what
//   versions before the log have left.
// - `upkeep` follows each heartbeat of this node, and claims the commands of dead nodes.
//
// The steps of an append: `append` checks the channels and queues the message. At the end of the turn of the event
// loop, the queue becomes one batch. The script APPEND checks it for duplicates, assigns positions and writes the
// entries. Once all entries before the batch are published, the batch is published: the view is updated, the followers
// are called, and the appends resolve. Usually the script's reply triggers this; otherwise reading the log does.

import type { Logger } from "pino";
import type { OnDamage } from "../../../../platform/level/damage.ts";
import type { IncomingId } from "../../../../platform/publication-log.ts";
import type { Connection } from "../../../../platform/redis/connection.ts";
import type { RedisConnections } from "../../../../platform/redis/connections.ts";
import type { Membership } from "../../../../platform/redis/membership.ts";
import { assertRetention, type RetentionLimits } from "../../core/limits.ts";
import { warnOfSkippedStates } from "../../core/state-table.ts";
import type { JournalStore, StoreOwner } from "../../core/store.ts";
import { StoredJournal } from "../../core/stored-journal.ts";
import type { Journal } from "../../journal.ts";
import type { ReferencedPreviews } from "../../preview-references.ts";
import { RedisBrokerRows } from "./broker-rows.ts";
import { RedisEarlierRows } from "./earlier-rows.ts";
import { RedisIncomingIds } from "./incoming-ids.ts";
import { type JournalKeys, journalKeys } from "./keys.ts";
import { DEFAULT_REDIS_JOURNAL_LIMITS, type RedisJournalLimits } from "./limits.ts";
import { type Loaded, load, missedEntries, renewEpoch } from "./loading.ts";
import { LogReader } from "./log-reader.ts";
import { reportLost } from "./lost-entries.ts";
import { OpenPublications } from "./open-publications.ts";
import { RedisPages } from "./pages.ts";
import { RedisPublications } from "./publication-log.ts";
import { Publisher } from "./publisher.ts";
import type { RedisView } from "./redis-view.ts";
import { Retention } from "./retention.ts";
import { RedisShares } from "./shares.ts";
import { Upkeep } from "./upkeep.ts";
import { Writer, type WriterContext } from "./writer.ts";

const DEFAULT_WAITS = {
  openTimeoutMs: 15_000,
  /** How long Redis blocks a read of the log when nothing is new. At most `MAX_BLOCK_MS`. */
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
  /** Called when Redis has lost events, which is also logged. */
  onDamage?: OnDamage | undefined;
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
  const { commands: writing, bulk: reading } = redis;
  await Promise.all([writing.ready(waits.openTimeoutMs), reading.ready(waits.openTimeoutMs)]);
  const loaded = await load(reading, keys, limits, retentionEvents);
  warnOfSkippedStates(loaded.view.states, settings.logger);
  const links = { writing, reading, keys };
  return await new StoredJournal((owner) => new RedisStore(owner, loaded, links, settings), settings).start();
}

/**
 * Begins a new epoch after Redis was restored from a copy: clients may have received events that are missing in the copy.
 * @returns false if Redis has no journal @throws {StoreUnavailableError} Redis is unreachable
 */
export async function beginNewEpoch(redis: RedisConnections): Promise<boolean> {
  const keys = journalKeys(redis.prefix);
  const { commands } = redis;
  await commands.ready(DEFAULT_WAITS.openTimeoutMs);
  const [epoch] = await commands.do((client) => client.hmget(keys.meta, "epoch"));
  if (typeof epoch !== "string") return false;
  await renewEpoch(commands, keys, epoch);
  return true;
}

interface Links {
  /** For appends, retention and upkeep. */
  writing: Connection;
  /** For pages, which are large. */
  reading: Connection;
  keys: JournalKeys;
}

class RedisStore implements JournalStore {
  readonly #owner: StoreOwner;
  readonly #settings: Settings;
  readonly #links: Links;
  readonly #open: OpenPublications;
  readonly #incoming: RedisIncomingIds;
  readonly #writer: Writer;
  readonly #publisher: Publisher;
  readonly #log: LogReader;
  readonly #retention: Retention;
  readonly #upkeep: Upkeep;
  readonly pages: RedisPages;
  readonly publications: RedisPublications;
  readonly rows: RedisBrokerRows;
  readonly earlier: RedisEarlierRows;
  readonly shares: RedisShares;
  #loaded: Loaded;
  #reloading: Promise<void> | undefined;
  #onReadyEnd = () => {};

  constructor(owner: StoreOwner, loaded: Loaded, links: Links, settings: Settings) {
    const { redis, waits, logger, previews, membership } = settings;
    const { writing, reading, keys } = links;
    this.#owner = owner;
    this.#settings = settings;
    this.#links = links;
    this.#loaded = loaded;
    const run = membership.nodeId;
    const view = () => this.view;
    const open = new OpenPublications(run, keys);
    const publications = new RedisPublications({
      ...{ reading, writing, keys, run, view, previews, logger },
      members: membership.key,
      rowChange: () => this.rows.known,
      shareVersion: () => this.shares.version,
    });
    this.shares = new RedisShares({
      ...{ connection: writing, keys, run, logger, members: membership.key },
      epoch: () => this.view.epoch,
    });
    this.rows = new RedisBrokerRows({
      ...{ writing, reading, keys, run, membership, logger },
      epoch: () => this.view.epoch,
      head: () => owner.log.head,
      onGap: () => owner.log.reset(),
    });
    const context: WriterContext = {
      ...{ connection: writing, keys, run, open, publications, view },
      onJournalChanged: (isRolledBack) => this.#reload(isRolledBack),
    };
    this.#open = open;
    this.#incoming = new RedisIncomingIds(writing, keys);
    this.publications = publications;
    this.earlier = new RedisEarlierRows({
      ...{ connection: writing, keys, view, logger },
      append: (message) => owner.append(message),
    });
    this.#publisher = new Publisher({
      ...{ run, open, view, owner, rows: this.rows },
      writer: () => this.#writer,
      isReloading: () => this.#reloading !== undefined,
    });
    this.#writer = new Writer({
      ...settings,
      ...context,
      onAppended: (batch, base, previous) => this.#publisher.appended(batch, base, previous),
    });
    this.#log = new LogReader({
      ...{ connection: redis.reading, keys, ...waits, logger },
      cursor: () => {
        const { epoch, head, stamp } = this.view;
        return { epoch, head, stamp, trimsId: this.#loaded.trimsId };
      },
      withoutPublications: (chunks) => this.#publisher.withoutPublications(chunks),
      publicationsOf: (chunks, connection) => publications.publicationsOf(chunks, connection),
      onChunks: (chunks, publications) =>
        this.#reloading === undefined ? this.#publisher.arrived(chunks, publications) : "reloading",
      onFloors: (floors) => this.view.channels.moved(floors),
      rows: this.rows,
      onPublicationFloor: (floor, bytes) => this.view.publications.trimmed(floor, bytes),
      onCompacted: (by, upTo, bytes, removedBytes) => {
        this.view.publications.trimmed(0, removedBytes);
        if (by !== run) owner.log.compacted(upTo, bytes);
      },
      onContinues: (master) => this.rows.continuesAt(master),
      onJournalChanged: async (continuity) =>
        await (continuity === "reloading" ? this.#reloading : this.#reload(continuity === "rolled-back")),
    });
    this.pages = new RedisPages(reading, keys, () => this.view.channels, logger);
    this.#retention = new Retention({
      ...settings,
      ...context,
      nodeName: membership.name,
      isClosing: () => owner.isClosing,
    });
    this.#upkeep = new Upkeep({ ...context, membership, onClaimed: () => owner.foundUnfinished() });
  }

  async start(): Promise<void> {
    this.#owner.log.onReset(() => {
      this.publications.reset();
      this.rows.reset();
      this.shares.reset();
    });
    await this.#upkeep.start();
    await this.#retention.schedule(this.#loaded.excess);
    this.#onReadyEnd = this.#links.writing.onReady(() => this.#upkeep.run());
    await this.rows.start();
    this.#log.start();
  }

  get view(): RedisView {
    return this.#loaded.view;
  }

  get unavailableReason(): string | undefined {
    return this.#settings.redis.unavailableReason ?? this.#log.unavailableReason;
  }

  append: JournalStore["append"] = (message, resolve, reject) => this.#writer.append(message, resolve, reject);
  trim: JournalStore["trim"] = (readers) => this.#retention.trim(readers);
  finished: JournalStore["finished"] = (position) => this.#open.finished(position);
  flushFinished: JournalStore["flushFinished"] = () => this.#open.flush(this.#links.writing);
  newest: NonNullable<JournalStore["newest"]> = async () => {
    const { writing, keys } = this.#links;
    const [epoch, head] = await writing.do((redis) => redis.hmget(keys.meta, "epoch", "head"));
    return { epoch: epoch ?? "", head: Number(head) };
  };
  unfinished: JournalStore["unfinished"] = () => this.#open.unfinished(this.#links.reading);

  /** None: a session's ids are read when its client connects, because the client may have been at another node. */
  async *incomingIds(): AsyncGenerator<IncomingId> {}

  removeIncomingIds: JournalStore["removeIncomingIds"] = (ids) => this.#incoming.remove(ids);
  replaceIncomingIds: NonNullable<JournalStore["replaceIncomingIds"]> = (session, ids) =>
    this.#incoming.replace(session, ids);

  /** Replaces the view, because Redis holds another journal or because this node missed entries. */
  #reload(isRolledBack: boolean): Promise<void> {
    this.#reloading ??= this.#reloadOnce(isRolledBack).finally(() => {
      this.#reloading = undefined;
    });
    return this.#reloading;
  }

  async #reloadOnce(isRolledBack: boolean): Promise<void> {
    const { reading, keys } = this.#links;
    const { limits, retentionEvents, logger, membership } = this.#settings;
    const before = this.#loaded.view;
    const shared = await before.history.shared(reading, keys);
    if (isRolledBack) await renewEpoch(reading, keys, before.epoch, shared);
    const loaded = await load(reading, keys, limits, retentionEvents);
    warnOfSkippedStates(loaded.view.states, logger);
    const isOther = loaded.view.epoch !== before.epoch;
    const known = isOther ? shared : before.head;
    const missed = known === undefined ? [] : await missedEntries(reading, keys, known, loaded.view);
    if (isOther) await this.#open.reset(reading, loaded.view.head);
    else await this.#owner.log.continueTo(loaded.view);
    this.#loaded = loaded;
    for (const batch of this.#writer.abandonSent()) {
      const base = this.#publisher.bases.get(batch);
      if (base === undefined || isOther) continue;
      this.#open.addOrphan(base + 1, base + batch.size);
    }
    if (isOther)
      this.#owner.reset(
        reportLost({ ...this.#settings, before, now: loaded.view, shared, run: membership.nodeId }),
        missed,
      );
    else {
      logger.warn({ head: before.head }, "node was disconnected from redis for longer than events are kept");
      this.#owner.reset(undefined, missed);
    }
    await this.#retention.schedule(loaded.excess);
  }

  async idle(): Promise<void> {
    this.#onReadyEnd();
    await this.publications.idle();
    await this.rows.close();
    await this.shares.close();
    await this.#upkeep.stop();
    await this.#writer.idle();
  }

  async close(): Promise<void> {
    try {
      await this.#open.flush(this.#links.writing);
    } finally {
      await this.#log.stop();
    }
  }
}
