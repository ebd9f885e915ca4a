import type { Logger } from "pino";
import type { Since } from "../../../contract/socket-messages.ts";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import { inTime } from "../../../platform/in-time.ts";
import { Listeners } from "../../../platform/listeners.ts";
import type { AppendedPublication, LoggedPublication, MqttLog } from "../../../platform/publication-log.ts";
import type { Appended, Entry, Journal, JournalMessage, JournalReader, Recovery, ReplacedEpoch } from "../journal.ts";
import type { ReferencedPreviews } from "../preview-references.ts";
import { BACKGROUND } from "./limits.ts";
import { PageReader } from "./page-reader.ts";
import { StoredPublicationLog } from "./publication-log.ts";
import type { JournalStore, StoreOwner } from "./store.ts";

/** How long a client waits until this node has read what another node has sent the client. */
const REACH_TIMEOUT_MS = 5_000;

interface StoredJournalOptions {
  previews?: ReferencedPreviews;
  logger: Logger;
}

/** The journal above a {@link JournalStore}. */
export class StoredJournal implements Journal, StoreOwner {
  readonly #store: JournalStore;
  readonly #logger: Logger;
  readonly #pages: PageReader;
  readonly #followers: Listeners<[entries: readonly Entry[]]>;
  readonly #resetListeners: Listeners<[replaced: ReplacedEpoch | undefined]>;
  readonly #unfinishedListeners: Listeners<[]>;
  readonly #readers = new Set<JournalReader>();
  /** Looks whether {@link reach} can resolve. */
  readonly #reaching = new Set<() => void>();
  readonly log: StoredPublicationLog;
  readonly mqtt: MqttLog;
  #trimming: Promise<unknown> = Promise.resolve();
  #untrimmedAppends = 0;
  #lostEvents = 0;
  #trimTimer: NodeJS.Timeout | undefined;
  #openTimer: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;
  #hasWarnedOfFullStateTable = false;

  /** @param createStore the store may use its owner after {@link start} only */
  constructor(createStore: (owner: StoreOwner) => JournalStore, { previews, logger }: StoredJournalOptions) {
    this.#logger = logger;
    this.#followers = new Listeners(logger);
    this.#resetListeners = new Listeners(logger);
    this.#unfinishedListeners = new Listeners(logger);
    const store = createStore(this);
    this.#store = store;
    this.#pages = new PageReader(store.pages);
    this.log = new StoredPublicationLog({ store: store.publications, view: () => store.view, previews, logger });
    this.mqtt = {
      publications: this.log,
      rows: store.rows,
      append: (publication) => this.#appendForMqtt(publication),
      incomingIds: store.incomingIds,
      removeIncomingIds: store.removeIncomingIds,
      replaceIncomingIds: store.replaceIncomingIds,
      onReset: (listener) => this.log.onReset(listener),
      earlier: store.earlier,
      shares: store.shares,
    };
  }

  async start(): Promise<this> {
    await this.#store.start();
    this.#trimTimer = setInterval(() => this.#trimInBackground(), BACKGROUND.trimIntervalMs).unref();
    return this;
  }

  get epoch(): string {
    return this.#store.view.epoch;
  }

  get head(): number {
    return this.#store.view.head;
  }

  get freeChannels(): number {
    return this.#store.view.channels.free;
  }

  get lostEvents(): number {
    return this.#lostEvents;
  }

  get isClosing(): boolean {
    return this.#closing !== undefined;
  }

  get unavailableReason(): string | undefined {
    return this.isClosing ? "the journal is closed" : this.#store.unavailableReason;
  }

  append(message: JournalMessage): Promise<Appended> {
    return new Promise((resolve, reject) => {
      // An error that is thrown here rejects the promise.
      this.#assertOpen();
      this.#store.append(message, resolve, reject);
    });
  }

  replay: Journal["replay"] = async (request) => {
    this.#assertOpen();
    return await this.#pages.replay(request, this.#store.view);
  };

  read: Journal["read"] = async (request) => {
    this.#assertOpen();
    return await this.#pages.read(request, this.#store.view);
  };

  recovery(channel: string, since: Since, shared = this.#store.view.origins.get(since.epoch)): Recovery {
    return this.#store.view.channels.recovery(channel, since, this, shared);
  }

  reach(since: Since): Promise<void> | undefined {
    const { newest } = this.#store;
    if (newest === undefined || !this.#isBehind(since)) return undefined;
    const why = "this node has not read the newest events of the other nodes yet";
    const over = new AbortController();
    const reading = this.#readTo(since, newest, over.signal);
    return inTime(reading, REACH_TIMEOUT_MS, () => new StoreUnavailableError(why)).finally(() => over.abort());
  }

  #isBehind({ epoch, position }: Since): boolean {
    return epoch === this.epoch && position > this.head;
  }

  async #readTo(since: Since, newest: NonNullable<JournalStore["newest"]>, over: AbortSignal): Promise<void> {
    const { epoch, head } = await newest();
    if (epoch !== since.epoch || head < since.position || over.aborted) return;
    await new Promise<void>((resolve) => {
      const look = () => {
        if (!this.#isBehind(since)) resolve();
      };
      this.#reaching.add(look);
      over.addEventListener("abort", () => void this.#reaching.delete(look), { once: true });
      look();
    });
  }

  follow: Journal["follow"] = (onEntries) => this.#followers.add(onEntries);
  snapshot: Journal["snapshot"] = (channel) => this.#store.view.states.snapshot(channel);
  state: Journal["state"] = (topic) => this.#store.view.states.get(topic);
  hasChannel: Journal["hasChannel"] = (channel) => this.#store.view.channels.get(channel) !== undefined;
  channelNames: Journal["channelNames"] = () => this.#store.view.channels.names();
  unfinished: Journal["unfinished"] = () => this.#store.unfinished();
  onUnfinished: Journal["onUnfinished"] = (listener) => this.#unfinishedListeners.add(listener);
  onReset: Journal["onReset"] = (listener) => this.#resetListeners.add(listener);
  keepFor: Journal["keepFor"] = (reader) => {
    this.#readers.add(reader);
    return () => this.#readers.delete(reader);
  };

  finished(position: number): void {
    if (!this.#store.finished(position) || this.#openTimer !== undefined) return;
    this.#openTimer = setTimeout(() => {
      this.#openTimer = undefined;
      if (!this.isClosing) this.#store.flushFinished().catch(() => {});
    }, BACKGROUND.openFlushDelayMs).unref();
  }

  async trim(): Promise<number> {
    this.#assertOpen();
    const trimming = this.#trimming.then(() => this.#store.trim(this.#readers));
    this.#trimming = trimming.catch(() => {});
    return await trimming;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  publish(
    entries: readonly Entry[],
    publications: readonly LoggedPublication[],
    skippedStateTopic: string | undefined,
  ): void {
    this.log.publish(publications, this.head);
    if (skippedStateTopic !== undefined) this.#warnOfFullStateTable(skippedStateTopic);
    this.#followers.call(entries);
    for (const look of this.#reaching) look();
  }

  appended(count: number): void {
    this.#untrimmedAppends += count;
    if (this.#untrimmedAppends >= BACKGROUND.trimEveryAppends) this.#trimInBackground();
  }

  reset(replaced: ReplacedEpoch | undefined, missed: readonly Entry[]): void {
    this.#lostEvents += replaced?.lostEvents ?? 0;
    this.#resetListeners.call(replaced);
    for (const look of this.#reaching) look();
    if (replaced !== undefined) this.log.reset(replaced);
    if (missed.length > 0) this.#followers.call(missed);
    this.foundUnfinished();
  }

  foundUnfinished(): void {
    this.#unfinishedListeners.call();
  }

  /** The entry has no channel and no body: followers of the journal and the archive pass over it. */
  async #appendForMqtt({ topic, incomingId, willOf, quota, fence, ...publish }: AppendedPublication): Promise<number> {
    const origin = { sender: "mqtt", id: undefined, session: undefined, seq: undefined };
    const entry = { topic, channels: [], camera: undefined, body: "", state: undefined, origin };
    // Without an id, no message is a duplicate.
    return (await this.append({ ...entry, publish, incomingId, willOf, quota, fence })).position ?? this.head;
  }

  #trimInBackground(): void {
    this.#untrimmedAppends = 0;
    if (this.isClosing) return;
    this.trim().catch((err: unknown) => this.#logger.debug({ err }, "retention failed, retrying later"));
  }

  async #close(): Promise<void> {
    clearInterval(this.#trimTimer);
    clearTimeout(this.#openTimer);
    await this.#trimming;
    await this.#store.idle();
    await this.#store.close().catch((err: unknown) => this.#logger.warn({ err }, "journal not closed cleanly"));
  }

  #assertOpen(): void {
    if (this.isClosing) throw new StoreUnavailableError("the journal is closed");
  }

  #warnOfFullStateTable(topic: string): void {
    if (this.#hasWarnedOfFullStateTable) return;
    this.#hasWarnedOfFullStateTable = true;
    this.#logger.warn({ topic }, "too many retained topics, state of further topics is not stored");
  }
}
