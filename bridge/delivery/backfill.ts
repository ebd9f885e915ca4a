import type { Logger } from "pino";
import { CloseCode } from "../../contract/codes.ts";
import { StoreUnavailableError } from "../../platform/errors.ts";
import type { FanOut } from "./fan-out.ts";
import type { Page, PageCache, PageRequest } from "./page-cache.ts";
import type { Subscriber } from "./subscriber.ts";

/** Pages that are read from the disk at one time. */
const MAX_READS = 8;
/** How long feeds wait before a store that was away is read again, milliseconds. */
const AWAY_RETRY_MS = 500;
/** How long feeds are served before others have a turn: live delivery, ingest, everything else, milliseconds. */
const TURN_MS = 4;

/** A page that is being read, and who waits for it. */
export interface Reading {
  request: PageRequest;
  waiting: Subscriber[];
  /** Set when it is there. `failed`: the store did not give it. */
  result: { page: Page } | "failed" | "away" | undefined;
}

export interface BackfillStats {
  /** Feeds that wait for their turn or for a page. */
  waiting: number;
  reading: number;
  pages: number;
  events: number;
}

/**
 * Brings feeds from where they are to the live edge: a page each, in turn, as their sockets take it. However many there
 * are, a few pages are read at a time, a turn is short, and what is read for one is read for all who stand at its place.
 */
export class Backfill {
  readonly #fanOut: FanOut;
  readonly #pages: PageCache;
  readonly #waitsForStore: boolean;
  readonly #logger: Logger;
  /** In order of their turn. */
  readonly #ready = new Set<Subscriber>();
  /** Those that need the disk while as much is being read as may be. */
  readonly #queued = new Set<Subscriber>();
  readonly #shared = new Map<string, Reading>();
  readonly #read: Reading[] = [];
  /** Those that wait until the store can be read again. */
  readonly #away = new Set<Subscriber>();
  #awayTimer: NodeJS.Timeout | undefined;
  #reads = 0;
  #turn: NodeJS.Immediate | undefined;
  #stopped = false;
  #stats = { pages: 0, events: 0 };

  /** @param options.waitsForStore a store that is unavailable comes back: feeds wait for it, and are not closed */
  constructor(
    fanOut: FanOut,
    pageCache: PageCache,
    { waitsForStore, logger }: { waitsForStore: boolean; logger: Logger },
  ) {
    this.#fanOut = fanOut;
    this.#pages = pageCache;
    this.#waitsForStore = waitsForStore;
    this.#logger = logger;
  }

  /** Serves the feed until it is live. One whose socket is full is served again when it says that it has drained. */
  add(subscriber: Subscriber): void {
    if (subscriber.reading !== undefined || this.#queued.has(subscriber) || this.#stopped) return;
    this.#ready.add(subscriber);
    this.#schedule();
  }

  /** The feed is closed, or about to want something else. */
  remove(subscriber: Subscriber): void {
    this.#ready.delete(subscriber);
    this.#queued.delete(subscriber);
    this.#away.delete(subscriber);
    subscriber.reading = undefined;
  }

  /** What is being read is of no use to those who come from now on. */
  reset(): void {
    this.#shared.clear();
  }

  stats(): BackfillStats {
    const arriving = this.#read.reduce((sum, { waiting }) => sum + waiting.length, 0);
    const waiting = this.#ready.size + this.#queued.size + this.#away.size + arriving;
    return { waiting, reading: this.#reads, ...this.#stats };
  }

  /** True when nobody is being served: what was kept for them may be forgotten. */
  get idle(): boolean {
    return this.#ready.size === 0 && this.#queued.size === 0 && this.#reads === 0;
  }

  stop(): void {
    this.#stopped = true;
    clearImmediate(this.#turn);
    this.#ready.clear();
    this.#queued.clear();
    this.#away.clear();
    clearTimeout(this.#awayTimer);
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#turn ??= setImmediate(() => {
      this.#turn = undefined;
      this.#serve(performance.now() + TURN_MS);
      if (this.#ready.size > 0 || this.#read.length > 0) this.#schedule();
    });
  }

  #serve(deadline: number): void {
    for (let reading = this.#read[0]; reading !== undefined; reading = this.#read[0]) {
      if (!this.#handOut(reading, deadline)) return;
      this.#read.shift();
      this.#reads--;
      const [next] = this.#queued;
      if (next !== undefined) {
        this.#queued.delete(next);
        this.#ready.add(next);
      }
    }
    // A feed that is put back while this runs has its next turn in it too, after all others.
    for (const subscriber of this.#ready) {
      this.#ready.delete(subscriber);
      this.#serveOne(subscriber, undefined);
      if (performance.now() > deadline) return;
    }
  }

  /** @returns whether all who waited have been served */
  #handOut({ waiting, request, result }: Reading, deadline: number): boolean {
    for (let subscriber = waiting.pop(); subscriber !== undefined; subscriber = waiting.pop()) {
      if (subscriber.reading?.request === request) {
        subscriber.reading = undefined;
        if (result === "away") this.#wait(subscriber);
        else if (result === undefined || result === "failed")
          subscriber.connection.close(CloseCode.internal, "the store cannot be read now");
        else this.#serveOne(subscriber, result.page);
      }
      if (performance.now() > deadline) return waiting.length === 0;
    }
    return true;
  }

  #wait(subscriber: Subscriber): void {
    if (this.#stopped) return;
    this.#away.add(subscriber);
    this.#awayTimer ??= setTimeout(() => {
      this.#awayTimer = undefined;
      const subscribers = [...this.#away];
      this.#away.clear();
      for (const one of subscribers) this.add(one);
    }, AWAY_RETRY_MS);
  }

  /** A fault of one feed is not to end the turn of the others. */
  #serveOne(subscriber: Subscriber, page: Page | undefined): void {
    try {
      if (page === undefined) this.#step(subscriber);
      else this.#give(subscriber, page);
    } catch (error) {
      this.#logger.error({ err: error, connection: subscriber.connection.id }, "catching up failed");
      subscriber.connection.close(CloseCode.internal, "the server failed");
    }
  }

  #step(subscriber: Subscriber): void {
    const { connection } = subscriber;
    if (!connection.open || connection.blocked) return;
    const task = subscriber.backfillTasks[0];
    if (task?.kind === "snapshot") {
      const page = this.#pages.snapshotPage(task.snapshot, task.channel, task.sent);
      task.sent = page.next;
      if (task.sent >= task.snapshot.entries.length) subscriber.backfillTasks.shift();
      this.#write(subscriber, page);
      this.#goOn(subscriber);
      return;
    }
    if (this.#arrived(subscriber)) return;
    const request = subscriber.request();
    const page = this.#pages.atHand(request);
    if (page !== undefined) this.#give(subscriber, page);
    else this.#start(subscriber, request);
  }

  #start(subscriber: Subscriber, request: PageRequest): void {
    const { key } = request;
    const shared = key === undefined ? undefined : this.#shared.get(key);
    if (shared !== undefined) {
      subscriber.reading = shared;
      shared.waiting.push(subscriber);
      return;
    }
    if (this.#reads >= MAX_READS) {
      this.#queued.add(subscriber);
      return;
    }
    const reading: Reading = { request, waiting: [subscriber], result: undefined };
    subscriber.reading = reading;
    this.#reads++;
    if (key !== undefined) this.#shared.set(key, reading);
    this.#pages
      .read(request)
      .then(
        (page) => {
          reading.result = { page };
        },
        (error: unknown) => {
          const away = this.#waitsForStore && error instanceof StoreUnavailableError;
          reading.result = away ? "away" : "failed";
          if (!away) this.#logger.error({ err: error }, "journal not readable");
        },
      )
      .finally(() => {
        if (key !== undefined && this.#shared.get(key) === reading) this.#shared.delete(key);
        this.#read.push(reading);
        this.#schedule();
      });
  }

  #give(subscriber: Subscriber, page: Page): void {
    const task = subscriber.backfillTasks[0];
    if (page.lost.length > 0) {
      for (const lost of page.lost) subscriber.lose(lost);
    } else if (task?.kind === "stretch") {
      this.#write(subscriber, page);
      task.after = page.next;
      if (task.after >= task.until) subscriber.backfillTasks.shift();
    } else {
      this.#write(subscriber, page);
      subscriber.cursor = page.next;
    }
    this.#goOn(subscriber);
  }

  #write(subscriber: Subscriber, { frames, events }: Page): void {
    if (frames === undefined) return;
    subscriber.connection.write(frames);
    this.#stats.pages++;
    this.#stats.events += events;
  }

  /** A feed whose socket is full goes on when that has drained. */
  #goOn(subscriber: Subscriber): void {
    if (this.#arrived(subscriber) || subscriber.connection.blocked) return;
    this.#ready.add(subscriber);
    this.#schedule();
  }

  #arrived(subscriber: Subscriber): boolean {
    if (subscriber.backfillTasks.length > 0 || subscriber.cursor < this.#fanOut.edge || subscriber.channels.size === 0)
      return false;
    subscriber.arrive();
    return true;
  }
}
