import type { Logger } from "pino";
import { CloseCode } from "../../contract/codes.ts";
import { StoreUnavailableError } from "../../platform/errors.ts";
import type { FrameSink } from "./frame-sink.ts";
import type { EntriesRequest, Page, PageCache, PageRequest } from "./page-cache.ts";

/** Pages read from the store at one time. */
const MAX_READS = 8;
/** The pause before an unavailable store is read again. */
const RETRY_MS = 500;
/** How long readers are served before live delivery, ingest and everything else get their turn. */
const TURN_MS = 4;

/** A subscriber behind the live edge. */
export interface BackfillReader {
  readonly sink: Pick<FrameSink, "names" | "open" | "blocked" | "write" | "close">;
  /** The page to read next. Undefined when the subscriber has joined live delivery. */
  nextRequest(): PageRequest | undefined;
  /**
   * Accepts the page of the last request. Its frames were written, unless it reports lost entries.
   * @returns whether the subscriber needs another page
   */
  received(page: Page): boolean;
}

/** A page, and the readers that wait for it. */
interface Reading {
  waiting: BackfillReader[];
  /** Undefined while the page is being read. */
  result: { page: Page } | "failed" | "unavailable" | undefined;
}

export interface BackfillStats {
  /** Readers that wait for their turn or for a page. */
  waiting: number;
  reading: number;
  pages: number;
  events: number;
}

/**
 * Brings readers from their cursor to the live edge, page by page, at the speed of their sockets. Many readers do not
 * slow the server down: few pages are read at a time, a turn is short, and readers with the same request share a page.
 */
export class Backfill {
  readonly #pages: PageCache;
  readonly #waitsForStore: boolean;
  readonly #logger: Logger;
  /** Readers to serve, in order. */
  readonly #ready = new Set<BackfillReader>();
  /** Readers that need the store while {@link MAX_READS} pages are being read. */
  readonly #queued = new Set<BackfillReader>();
  readonly #readings = new Map<BackfillReader, Reading>();
  /** The readings that further readers may join, by the key of the request. */
  readonly #shared = new Map<string, Reading>();
  /** The readings to hand out next. */
  readonly #finished: Reading[] = [];
  /** Readers that wait for an unavailable store. */
  readonly #retrying = new Set<BackfillReader>();
  #retryTimer: NodeJS.Timeout | undefined;
  #reads = 0;
  #turn: NodeJS.Immediate | undefined;
  #stopped = false;
  #stats = { pages: 0, events: 0 };

  /** @param options.waitsForStore whether readers wait for an unavailable store. If not, they are disconnected. */
  constructor(pageCache: PageCache, { waitsForStore, logger }: { waitsForStore: boolean; logger: Logger }) {
    this.#pages = pageCache;
    this.#waitsForStore = waitsForStore;
    this.#logger = logger;
  }

  /** Serves the reader until it is live or its socket is full. Call this again when the socket has drained. */
  add(reader: BackfillReader): void {
    if (this.#readings.has(reader) || this.#queued.has(reader) || this.#stopped) return;
    this.#ready.add(reader);
    this.#schedule();
  }

  /** Call this before the reader is closed or its request changes. */
  remove(reader: BackfillReader): void {
    this.#ready.delete(reader);
    this.#queued.delete(reader);
    this.#retrying.delete(reader);
    this.#readings.delete(reader);
  }

  /** Call this when the journal was replaced: later requests do not share the current readings. */
  reset(): void {
    this.#shared.clear();
  }

  stats(): BackfillStats {
    const waiting = this.#ready.size + this.#queued.size + this.#retrying.size + this.#readings.size;
    return { waiting, reading: this.#reads, ...this.#stats };
  }

  get idle(): boolean {
    return this.#ready.size === 0 && this.#queued.size === 0 && this.#reads === 0;
  }

  stop(): void {
    this.#stopped = true;
    clearImmediate(this.#turn);
    this.#ready.clear();
    this.#queued.clear();
    this.#retrying.clear();
    clearTimeout(this.#retryTimer);
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#turn ??= setImmediate(() => {
      this.#turn = undefined;
      this.#serve(performance.now() + TURN_MS);
      if (this.#ready.size > 0 || this.#finished.length > 0) this.#schedule();
    });
  }

  #serve(deadline: number): void {
    for (let reading = this.#finished[0]; reading !== undefined; reading = this.#finished[0]) {
      if (!this.#handOut(reading, deadline)) return;
      this.#finished.shift();
      this.#reads--;
      const [next] = this.#queued;
      if (next !== undefined) {
        this.#queued.delete(next);
        this.#ready.add(next);
      }
    }
    // A reader that is added again during this loop is served again at the end of the loop.
    for (const reader of this.#ready) {
      this.#ready.delete(reader);
      this.#serveOne(reader, undefined);
      if (performance.now() > deadline) return;
    }
  }

  /** @returns whether every waiting reader was served */
  #handOut(reading: Reading, deadline: number): boolean {
    const { waiting, result } = reading;
    for (let reader = waiting.pop(); reader !== undefined; reader = waiting.pop()) {
      // A reader that was removed, and perhaps added again, does not wait for this page.
      if (this.#readings.get(reader) === reading) {
        this.#readings.delete(reader);
        if (result === "unavailable") this.#retryLater(reader);
        else if (result === undefined || result === "failed")
          reader.sink.close(CloseCode.internal, "the event store cannot be read");
        else this.#serveOne(reader, result.page);
      }
      if (performance.now() > deadline) return waiting.length === 0;
    }
    return true;
  }

  #retryLater(reader: BackfillReader): void {
    if (this.#stopped) return;
    this.#retrying.add(reader);
    this.#retryTimer ??= setTimeout(() => {
      this.#retryTimer = undefined;
      const readers = [...this.#retrying];
      this.#retrying.clear();
      for (const one of readers) this.add(one);
    }, RETRY_MS);
  }

  /** A failure of this reader must not end the turn of the others. */
  #serveOne(reader: BackfillReader, page: Page | undefined): void {
    try {
      if (page === undefined) this.#step(reader);
      else this.#give(reader, page);
    } catch (error) {
      this.#logger.error({ err: error, ...reader.sink.names }, "backfill failed");
      reader.sink.close(CloseCode.internal, "the server failed");
    }
  }

  #step(reader: BackfillReader): void {
    if (!reader.sink.open || reader.sink.blocked) return;
    const request = reader.nextRequest();
    if (request === undefined) return;
    if (request.kind === "snapshot") {
      this.#give(reader, this.#pages.snapshotPage(request));
      return;
    }
    const page = this.#pages.fromMemory(request);
    if (page !== undefined) this.#give(reader, page);
    else this.#read(reader, request);
  }

  #read(reader: BackfillReader, request: EntriesRequest): void {
    const { key } = request;
    const shared = key === undefined ? undefined : this.#shared.get(key);
    if (shared !== undefined) {
      this.#readings.set(reader, shared);
      shared.waiting.push(reader);
      return;
    }
    if (this.#reads >= MAX_READS) {
      this.#queued.add(reader);
      return;
    }
    const reading: Reading = { waiting: [reader], result: undefined };
    this.#readings.set(reader, reading);
    this.#reads++;
    if (key !== undefined) this.#shared.set(key, reading);
    this.#pages
      .read(request)
      .then(
        (page) => {
          reading.result = { page };
        },
        (error: unknown) => {
          const retries = this.#waitsForStore && error instanceof StoreUnavailableError;
          reading.result = retries ? "unavailable" : "failed";
          if (!retries) this.#logger.error({ err: error }, "journal not readable");
        },
      )
      .finally(() => {
        if (key !== undefined && this.#shared.get(key) === reading) this.#shared.delete(key);
        this.#finished.push(reading);
        this.#schedule();
      });
  }

  #give(reader: BackfillReader, page: Page): void {
    const { frames, events } = page;
    if (frames !== undefined && page.lost.length === 0) {
      reader.sink.write(frames);
      this.#stats.pages++;
      this.#stats.events += events;
    }
    if (!reader.received(page) || reader.sink.blocked) return;
    this.#ready.add(reader);
    this.#schedule();
  }
}
