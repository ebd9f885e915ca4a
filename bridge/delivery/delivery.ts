import type { Since } from "../../contract/socket-messages.ts";
import { LimitedLog } from "../../platform/limited-log.ts";
import type { Journal, ReplacedEpoch } from "../journal/journal.ts";
import { Backfill } from "./backfill.ts";
import { FanOut, type FanOutOptions } from "./fan-out.ts";
import type { FlushLog, LiveDelivery } from "./flush-log.ts";
import type { FrameSink } from "./frame-sink.ts";
import { type LatestEvents, PageCache } from "./page-cache.ts";
import { Subscriber, type SubscriberContext } from "./subscriber.ts";

export interface DeliveryOptions extends FanOutOptions {
  journal: Journal;
  /** Whether subscribers wait for an unavailable store. If not, they are disconnected. */
  waitsForStore: boolean;
  /** Default: none. */
  latest?: LatestEvents | undefined;
}

/** Delivers the journal to subscribers: live to subscribers at its head, by backfill to the others. */
export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #limitedLog = new LimitedLog();
  readonly #fanOut: FanOut;
  readonly #pageCache: PageCache;
  readonly #backfill: Backfill;
  readonly #context: SubscriberContext;
  readonly #subscribers = new Set<Subscriber>();
  #endResets: (() => void) | undefined;

  constructor(options: DeliveryOptions) {
    const { journal, waitsForStore, logger } = options;
    this.#options = options;
    this.#fanOut = new FanOut(options);
    this.#pageCache = new PageCache(journal, this.#fanOut.recentEntries, options.latest);
    this.#backfill = new Backfill(this.#pageCache, { waitsForStore, logger });
    this.#context = {
      ...{ journal, fanOut: this.#fanOut, backfill: this.#backfill, pageCache: this.#pageCache },
      ...{ logger, limitedLog: this.#limitedLog },
    };
  }

  /** Call this in the same turn of the event loop as the constructor. */
  start(): void {
    this.#fanOut.start();
    this.#endResets = this.#options.journal.onReset((replaced) => this.#reset(replaced));
  }

  /** Adds a subscriber without channels. @param of.user named in the log */
  open(sink: FrameSink, of: { user: string; onlyCameras: ReadonlySet<string> | undefined }): Subscriber {
    const subscriber = new Subscriber(sink, of, this.#context);
    this.#subscribers.add(subscriber);
    return subscriber;
  }

  close(subscriber: Subscriber): void {
    this.#subscribers.delete(subscriber);
    subscriber.close();
  }

  /** As {@link Journal.reach}: await this before a subscriber subscribes with this cursor. */
  reach(since: Since): Promise<void> | undefined {
    return this.#options.journal.reach(since);
  }

  /** Evicts the cached pages if no reader needs them. Call this now and then. */
  evictUnused(): void {
    if (this.#backfill.idle) this.#pageCache.clear();
  }

  /** To how many sockets an event was written live. Undefined when this is no longer known. */
  liveDeliveryOf(entry: Parameters<FlushLog["deliveryOf"]>[0]): LiveDelivery | undefined {
    return this.#fanOut.flushLog.deliveryOf(entry);
  }

  stats() {
    return { fanOut: this.#fanOut.stats(), backfill: this.#backfill.stats() };
  }

  /** Writes the pending frames, and ends delivery. */
  stop(): void {
    this.#endResets?.();
    this.#backfill.stop();
    this.#fanOut.stop();
    this.#limitedLog.stop();
  }

  /** Lets subscribers continue after the journal was replaced, or after this node was disconnected from it. */
  #reset(replaced: ReplacedEpoch | undefined): void {
    const { journal, logger } = this.#options;
    const { epoch } = journal;
    for (const subscriber of this.#subscribers) subscriber.pause();
    this.#fanOut.reset();
    this.#backfill.reset();
    this.#pageCache.clear();
    for (const subscriber of this.#subscribers) subscriber.resume(replaced);
    logger.warn(
      { epoch, isReplaced: replaced !== undefined, connections: this.#subscribers.size },
      "subscribers continue after a journal reset",
    );
  }
}
