import type { Logger } from "pino";
import { LimitedLog } from "../../platform/limited-log.ts";
import type { Journal } from "../journal/journal.ts";
import { Backfill, type BackfillStats } from "./backfill.ts";
import { FanOut, type FanOutStats } from "./fan-out.ts";
import type { FrameSink } from "./frame-sink.ts";
import { PageCache } from "./page-cache.ts";
import { Subscriber, type SubscriberContext } from "./subscriber.ts";

export interface DeliveryOptions {
  journal: Journal;
  /** Whether subscribers wait for a store that is unavailable, or are disconnected. */
  waitsForStore: boolean;
  /** The shortest time from one flush to the next, milliseconds. */
  flushIntervalMs: number;
  /** The most unsent bytes of one socket. */
  maxQueuedBytes: number;
  logger: Logger;
}

export interface DeliveryStats {
  fanOut: FanOutStats;
  backfill: BackfillStats;
}

/** Delivers the journal to subscribers: live to those at its head, by backfill to all others. */
export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #limitedLog = new LimitedLog();
  readonly #fanOut: FanOut;
  readonly #pageCache: PageCache;
  readonly #backfill: Backfill;
  readonly #context: SubscriberContext;
  readonly #subscribers = new Set<Subscriber>();
  #epoch: string;
  #endResets: (() => void) | undefined;

  constructor(options: DeliveryOptions) {
    const { journal, waitsForStore, logger } = options;
    this.#options = options;
    this.#epoch = journal.epoch;
    this.#fanOut = new FanOut(options);
    this.#pageCache = new PageCache(journal, this.#fanOut.recentEntries);
    this.#backfill = new Backfill(this.#pageCache, { waitsForStore, logger });
    this.#context = {
      ...{ journal, fanOut: this.#fanOut, backfill: this.#backfill, pageCache: this.#pageCache },
      ...{ logger, limitedLog: this.#limitedLog },
    };
  }

  /** Call in the same turn of the event loop as the constructor. */
  start(): void {
    this.#fanOut.start();
    this.#endResets = this.#options.journal.onReset(() => this.#reset());
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

  /** Evicts pages cached for readers at the same place, if there are no readers. Call now and then. */
  evictUnused(): void {
    if (this.#backfill.idle) this.#pageCache.clear();
  }

  stats(): DeliveryStats {
    return { fanOut: this.#fanOut.stats(), backfill: this.#backfill.stats() };
  }

  /** Writes what is pending. The journal's next entries are not delivered. */
  stop(): void {
    this.#endResets?.();
    this.#backfill.stop();
    this.#fanOut.stop();
    this.#limitedLog.stop();
  }

  /** The journal was replaced, or this node was cut off from it: subscribers continue in the journal as it is now. */
  #reset(): void {
    const { journal, logger } = this.#options;
    const { epoch } = journal;
    const isReplaced = epoch !== this.#epoch;
    this.#epoch = epoch;
    for (const subscriber of this.#subscribers) subscriber.pause();
    this.#fanOut.reset();
    this.#backfill.reset();
    this.#pageCache.clear();
    for (const subscriber of this.#subscribers) subscriber.resume(isReplaced);
    logger.warn(
      { epoch, isReplaced, connections: this.#subscribers.size },
      "subscribers continue after a journal reset",
    );
  }
}
