import type { Logger } from "pino";
import { CloseCode } from "../../contract/codes.ts";
import { StoreUnavailableError } from "../../platform/errors.ts";
import type { FanOut } from "./fan-out.ts";
import type { Page, PageRequest, Pages } from "./page-cache.ts";
import type { Feed } from "./subscriber.ts";

/** Pages that are read from the disk at one time. */
const MAX_READS = 8;
/** How long feeds wait before a store that was away is read again, milliseconds. */
const AWAY_RETRY_MS = 500;
/** How long feeds are served before others have a turn: live delivery, ingest, everything else, milliseconds. */
const TURN_MS = 4;

/** A page that is being read, and who waits for it. */
export interface Reading {
  request: PageRequest;
  waiting: Feed[];
  /** Set when it is there. `failed`: the store did not give it. */
  result: { page: Page } | "failed" | "away" | undefined;
}

export interface CatchUpStats {
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
export class CatchUp {
  readonly #fanOut: FanOut;
  readonly #pages: Pages;
  readonly #waitsForStore: boolean;
  readonly #logger: Logger;
  /** In order of their turn. */
  readonly #ready = new Set<Feed>();
  /** Those that need the disk while as much is being read as may be. */
  readonly #queued = new Set<Feed>();
  readonly #shared = new Map<string, Reading>();
  readonly #read: Reading[] = [];
  /** Those that wait until the store can be read again. */
  readonly #away = new Set<Feed>();
  #awayTimer: NodeJS.Timeout | undefined;
  #reads = 0;
  #turn: NodeJS.Immediate | undefined;
  #stopped = false;
  #stats = { pages: 0, events: 0 };

  /** @param options.waitsForStore a store that is unavailable comes back: feeds wait for it, and are not closed */
  constructor(fanOut: FanOut, pages: Pages, { waitsForStore, logger }: { waitsForStore: boolean; logger: Logger }) {
    this.#fanOut = fanOut;
    this.#pages = pages;
    this.#waitsForStore = waitsForStore;
    this.#logger = logger;
  }

  /** Serves the feed until it is live. One whose socket is full is served again when it says that it has drained. */
  add(feed: Feed): void {
    if (feed.reading !== undefined || this.#queued.has(feed) || this.#stopped) return;
    this.#ready.add(feed);
    this.#schedule();
  }

  /** The feed is closed, or about to want something else. */
  remove(feed: Feed): void {
    this.#ready.delete(feed);
    this.#queued.delete(feed);
    this.#away.delete(feed);
    feed.reading = undefined;
  }

  /** What is being read is of no use to those who come from now on. */
  reset(): void {
    this.#shared.clear();
  }

  stats(): CatchUpStats {
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
    for (const feed of this.#ready) {
      this.#ready.delete(feed);
      this.#serveOne(feed, undefined);
      if (performance.now() > deadline) return;
    }
  }

  /** @returns whether all who waited have been served */
  #handOut({ waiting, request, result }: Reading, deadline: number): boolean {
    for (let feed = waiting.pop(); feed !== undefined; feed = waiting.pop()) {
      if (feed.reading?.request === request) {
        feed.reading = undefined;
        if (result === "away") this.#wait(feed);
        else if (result === undefined || result === "failed")
          feed.connection.close(CloseCode.internal, "the store cannot be read now");
        else this.#serveOne(feed, result.page);
      }
      if (performance.now() > deadline) return waiting.length === 0;
    }
    return true;
  }

  #wait(feed: Feed): void {
    if (this.#stopped) return;
    this.#away.add(feed);
    this.#awayTimer ??= setTimeout(() => {
      this.#awayTimer = undefined;
      const feeds = [...this.#away];
      this.#away.clear();
      for (const one of feeds) this.add(one);
    }, AWAY_RETRY_MS);
  }

  /** A fault of one feed is not to end the turn of the others. */
  #serveOne(feed: Feed, page: Page | undefined): void {
    try {
      if (page === undefined) this.#step(feed);
      else this.#give(feed, page);
    } catch (error) {
      this.#logger.error({ err: error, connection: feed.connection.id }, "catching up failed");
      feed.connection.close(CloseCode.internal, "the server failed");
    }
  }

  #step(feed: Feed): void {
    const { connection } = feed;
    if (!connection.open || connection.blocked) return;
    const errand = feed.errands[0];
    if (errand?.kind === "snapshot") {
      const page = this.#pages.snapshotPage(errand.snapshot, errand.channel, errand.sent);
      errand.sent = page.next;
      if (errand.sent >= errand.snapshot.entries.length) feed.errands.shift();
      this.#write(feed, page);
      this.#goOn(feed);
      return;
    }
    if (this.#arrived(feed)) return;
    const request = feed.request();
    const page = this.#pages.atHand(request);
    if (page !== undefined) this.#give(feed, page);
    else this.#start(feed, request);
  }

  #start(feed: Feed, request: PageRequest): void {
    const { key } = request;
    const shared = key === undefined ? undefined : this.#shared.get(key);
    if (shared !== undefined) {
      feed.reading = shared;
      shared.waiting.push(feed);
      return;
    }
    if (this.#reads >= MAX_READS) {
      this.#queued.add(feed);
      return;
    }
    const reading: Reading = { request, waiting: [feed], result: undefined };
    feed.reading = reading;
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

  #give(feed: Feed, page: Page): void {
    const errand = feed.errands[0];
    if (page.lost.length > 0) {
      for (const lost of page.lost) feed.lose(lost);
    } else if (errand?.kind === "stretch") {
      this.#write(feed, page);
      errand.after = page.next;
      if (errand.after >= errand.until) feed.errands.shift();
    } else {
      this.#write(feed, page);
      feed.cursor = page.next;
    }
    this.#goOn(feed);
  }

  #write(feed: Feed, { frames, events }: Page): void {
    if (frames === undefined) return;
    feed.connection.write(frames);
    this.#stats.pages++;
    this.#stats.events += events;
  }

  /** A feed whose socket is full goes on when that has drained. */
  #goOn(feed: Feed): void {
    if (this.#arrived(feed) || feed.connection.blocked) return;
    this.#ready.add(feed);
    this.#schedule();
  }

  #arrived(feed: Feed): boolean {
    if (feed.errands.length > 0 || feed.cursor < this.#fanOut.edge || feed.channels.size === 0) return false;
    feed.arrive();
    return true;
  }
}
