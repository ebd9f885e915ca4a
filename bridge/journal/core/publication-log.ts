import type { Logger } from "pino";
import { messageOf, StoreUnavailableError } from "../../../platform/errors.ts";
import { Listeners } from "../../../platform/listeners.ts";
import {
  type LoggedPublication,
  type LostPublications,
  type PublicationLog,
  type PublicationPage,
  type RetainedPublication,
  type RetainedTopic,
  retainedSize,
} from "../../../platform/publication-log.ts";
import type { ReplacedEpoch } from "../journal.ts";
import { type ReferencedPreviews, withPictures } from "../preview-references.ts";
import { type LogRow, publicationPage } from "./publication-page.ts";
import type { PublicationRows } from "./publication-rows.ts";
import { RecentPublications } from "./recent-publications.ts";

export type OnCompacted = (upTo: number, bytes: number) => void;

/**
 * The publications for MQTT subscribers in a store: rows of publications, and one value for each retained message. A row
 * has the publications of one write, or of a part of it.
 */
export interface PublicationStore {
  /** The next rows whose last position is above `after` and at most `until`, in order. Without rows, there are none. */
  rows(after: number, until: number): Promise<LogRow[]>;
  /** Loads a floor that another node may have raised. Undefined: no other node uses the store. */
  refreshFloor?(rows: PublicationRows): Promise<void>;
  /** The retained messages of the topics, at least one. Undefined for none, or an unreadable one. */
  retained(topics: readonly string[]): Promise<(LoggedPublication | undefined)[]>;
  /** Each topic's retained message, without unreadable ones. */
  allRetained(): AsyncIterable<LoggedPublication>;
  /** As {@link PublicationLog.removeRetained}. */
  removeRetained(...args: Parameters<PublicationLog["removeRetained"]>): Promise<void>;
  /** Begins to remove rows up to and including the position. */
  trim(...args: Parameters<PublicationLog["trim"]>): void;
  /** As {@link PublicationLog.compact}. @param onRemoved the size of publications up to the position that were removed */
  compact(...args: [...Parameters<PublicationLog["compact"]>, onRemoved: OnCompacted]): Promise<void>;
  /** As {@link PublicationLog.storeFor}. */
  storeFor?: NonNullable<PublicationLog["storeFor"]>;
}

/** The part of the journal's view that the log needs. */
interface LogView {
  readonly epoch: string;
  readonly origins: ReadonlyMap<string, number>;
  readonly head: number;
  readonly publications: PublicationRows;
}

interface StoredPublicationLogOptions {
  store: PublicationStore;
  view: () => LogView;
  /** Default: publications of previews are left out of reads. */
  previews: ReferencedPreviews | undefined;
  logger: Logger;
}

/** The log of publications: its followers, the newest publications in memory, and pages from the store. */
export class StoredPublicationLog implements PublicationLog {
  readonly #options: StoredPublicationLogOptions;
  readonly #followers: Listeners<[publications: readonly LoggedPublication[], head: number]>;
  readonly #compactedListeners: Listeners<Parameters<OnCompacted>>;
  readonly #resetListeners: Listeners<[lost: LostPublications | undefined]>;
  #recent: RecentPublications;
  /** The newest position that was passed to the followers. */
  head: number;
  readonly storeFor?: NonNullable<PublicationLog["storeFor"]>;

  constructor(options: StoredPublicationLogOptions) {
    const { store, view, logger } = options;
    this.#options = options;
    this.#followers = new Listeners(logger);
    this.#compactedListeners = new Listeners(logger);
    this.#resetListeners = new Listeners(logger);
    this.head = view().head;
    this.#recent = new RecentPublications(this.head);
    if (store.storeFor !== undefined) this.storeFor = store.storeFor.bind(store);
  }

  get epoch(): string {
    return this.#options.view().epoch;
  }

  isKnown(epoch: string): boolean {
    return epoch === this.epoch || this.#options.view().origins.has(epoch);
  }

  get floor(): number {
    return this.#options.view().publications.floor;
  }

  get bytes(): number {
    return this.#options.view().publications.bytes;
  }

  follow: PublicationLog["follow"] = (onPublications) => this.#followers.add(onPublications);
  onCompacted: PublicationLog["onCompacted"] = (listener) => this.#compactedListeners.add(listener);
  recent: PublicationLog["recent"] = (after) => this.#recent.read(after);

  /** As {@link MqttLog.onReset}. */
  onReset(listener: (lost: LostPublications | undefined) => void): () => void {
    return this.#resetListeners.add(listener);
  }

  /** Passes the next publications to the followers. They reach up to the position `head`. */
  publish(given: readonly LoggedPublication[], head: number): void {
    if (head <= this.head) return;
    // A page of `continueTo` may have ended within this batch.
    const isNew = ({ position }: LoggedPublication) => position > this.head;
    const publications = given[0] === undefined || isNew(given[0]) ? given : given.filter(isNew);
    this.head = head;
    this.#recent.push(this.#options.view().publications.isStored ? publications : [], head);
    this.#followers.call(publications, head);
  }

  /** Passes everything up to the head of a newer view of the same epoch to the followers. @throws {StoreUnavailableError} */
  async continueTo(view: LogView): Promise<void> {
    while (this.head < view.head) {
      const { publications, next, missing } = await this.#withPictures(await this.#scan(this.head, view));
      this.publish(publications, next);
      if (missing !== undefined) this.missed(missing.after, missing.before);
    }
  }

  /** Reports publications above `after` and below `before`, which the followers cannot get. */
  missed(after: number, before: number): void {
    this.#options.logger.error(
      { after, before },
      "publications for MQTT subscribers are lost: the store has removed them",
    );
    this.#recent = new RecentPublications(this.head);
    this.#resetListeners.call(undefined);
  }

  /** Begins again at the head of the view. @param replaced set if the view is of another epoch */
  reset(replaced?: Pick<ReplacedEpoch, "shared">): void {
    const shared = replaced?.shared;
    const lost = shared === undefined ? undefined : { after: shared, publications: this.#recentAbove(shared) };
    this.head = this.#options.view().head;
    this.#recent = new RecentPublications(this.head);
    this.#resetListeners.call(lost);
  }

  /** The publications above the position, as far as memory reaches back. */
  #recentAbove(position: number): readonly LoggedPublication[] {
    const found: LoggedPublication[] = [];
    for (let after = Math.max(position, this.#recent.after); after < this.head; ) {
      const page = this.#recent.read(after);
      if (page === undefined) break;
      found.push(...page.publications);
      after = page.next;
    }
    return found;
  }

  async read(after: number): Promise<PublicationPage> {
    return await this.#withPictures(await this.scan(after));
  }

  async scan(after: number): Promise<PublicationPage> {
    const view = this.#options.view();
    const page = await this.#scan(after, view);
    if (this.epoch !== view.epoch) throw new StoreUnavailableError("the journal was loaded again during the read");
    return page;
  }

  async #scan(after: number, view: LogView): Promise<PublicationPage> {
    const { store } = this.#options;
    const { head, publications } = view;
    const { floor, last } = publications;
    const from = Math.max(after, floor);
    if (from >= last) return { publications: [], next: Math.max(from, head) };
    const page = publicationPage(await store.rows(from, head), { from, head, last });
    if (page.missing === undefined || store.refreshFloor === undefined) return page;
    // Another node may just have removed these rows.
    await store.refreshFloor(publications);
    return publications.floor > floor ? await this.#scan(after, view) : page;
  }

  #withPictures(page: PublicationPage): Promise<PublicationPage> {
    return withPictures(page, this.#options.previews);
  }

  trim: PublicationLog["trim"] = (upTo, connected) => this.#options.store.trim(upTo, connected);

  compact: PublicationLog["compact"] = (range, isWanted) =>
    this.#options.store.compact(range, isWanted, (upTo, bytes) => this.compacted(upTo, bytes));

  /** Tells that a node has compacted the log. */
  compacted(upTo: number, bytes: number): void {
    this.#compactedListeners.call(upTo, bytes);
  }

  async *retainedTopics(): AsyncGenerator<RetainedTopic> {
    for await (const { topic, payload, properties, position, expiresAt } of this.#options.store.allRetained())
      yield { topic, bytes: retainedSize(payload, properties), position, expiresAt };
  }

  removeRetained: PublicationLog["removeRetained"] = (messages) => this.#options.store.removeRetained(messages);

  async retained(topics: readonly string[]): Promise<(RetainedPublication | undefined)[]> {
    if (topics.length === 0) return [];
    const found = await this.#options.store.retained(topics);
    return found.map((publication) => publication && { ...publication, retain: true });
  }
}

/** @returns undefined, and logs this, if the row is damaged or of a newer version @param row names the row in the log */
export function parsed<Row>(logger: Logger, row: string | number, parse: () => Row): Row | undefined {
  try {
    return parse();
  } catch (error) {
    logger.error({ row, why: messageOf(error) }, "stored publications for MQTT subscribers are unreadable");
    return undefined;
  }
}
