import { setTimeout as after } from "node:timers/promises";
import type { Logger } from "pino";
import type { z } from "zod";
import type { Documents, StoredDocument } from "../cluster/cluster.ts";

/** The pause between two attempts to read changes while the store is unavailable. */
const RETRY_MS = 500;
/** The most changed documents that are read one by one. With more, the whole collection is read. */
const MAX_CHANGED_KEYS = 1_000;

/** Options of the stores of accounts, devices and revocations. */
export interface StoreOptions {
  documents: Documents;
  logger: Logger;
  /** Milliseconds since 1970. Default: the system clock. */
  now?: () => number;
}

interface CachedCollectionOptions<Value> extends Pick<StoreOptions, "documents" | "logger"> {
  collection: string;
  schema: z.ZodType<Value>;
}

/**
 * A copy of a collection in memory, readable while the store is unavailable. Changed documents are read again,
 * whichever node changed them. A damaged document is logged and left out.
 */
export class CachedCollection<Value> {
  readonly #options: CachedCollectionOptions<Value>;
  readonly #listeners = new Set<(keys: readonly string[] | undefined) => void>();
  #values = new Map<string, Value>();
  /** The versions of the documents, as they were last read. */
  #versions = new Map<string, string>();
  #changedKeys = new Set<string>();
  #allChanged = false;
  #waiting: { resolve: () => void; reject: (error: unknown) => void }[] = [];
  #reading = false;
  #unwatch = () => {};
  readonly #stopped = new AbortController();

  private constructor(options: CachedCollectionOptions<Value>) {
    this.#options = options;
  }

  /** @throws {StoreUnavailableError} */
  static async open<Value>(options: CachedCollectionOptions<Value>): Promise<CachedCollection<Value>> {
    const collection = new CachedCollection(options);
    const { documents, collection: name } = options;
    collection.#unwatch = documents.watch(name, (key) => collection.#scheduleRead(key));
    try {
      await collection.#read(undefined);
    } catch (error) {
      collection.stop();
      throw error;
    }
    return collection;
  }

  get size(): number {
    return this.#values.size;
  }

  get(key: string): Value | undefined {
    return this.#values.get(key);
  }

  entries(): IterableIterator<[string, Value]> {
    return this.#values.entries();
  }

  keys(): IterableIterator<string> {
    return this.#values.keys();
  }

  /**
   * Calls back with the keys of changed documents; undefined when any document may have changed. A document that was read
   * again and has not changed calls nobody back. @returns unsubscribes
   */
  onChange(listener: (keys: readonly string[] | undefined) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Reads the document again. Resolves when memory is at least as recent as this call.
   * @param key default: all documents are read
   * @throws {StoreUnavailableError} the document could not be read; the collection keeps retrying in the background
   */
  refresh(key?: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#scheduleRead(key);
    });
  }

  /** Removes expired values from memory. Listeners are not notified, because each value says when it expires. */
  evict(isExpired: (value: Value) => boolean): void {
    for (const [key, value] of this.#values)
      if (isExpired(value)) {
        this.#values.delete(key);
        this.#versions.delete(key);
      }
  }

  stop(): void {
    this.#stopped.abort();
    this.#unwatch();
    this.#listeners.clear();
  }

  #scheduleRead(key: string | undefined): void {
    if (key === undefined || this.#changedKeys.size >= MAX_CHANGED_KEYS) this.#allChanged = true;
    else this.#changedKeys.add(key);
    if (this.#reading) return;
    this.#reading = true;
    void this.#readChanges();
  }

  /** Runs one read at a time, so that an older result never overwrites a newer one. */
  async #readChanges(): Promise<void> {
    let failureReported = false;
    while (!this.#stopped.signal.aborted && (this.#allChanged || this.#changedKeys.size > 0)) {
      const keys = this.#allChanged ? undefined : [...this.#changedKeys];
      const waiting = this.#waiting.splice(0);
      this.#allChanged = false;
      this.#changedKeys.clear();
      try {
        await this.#read(keys);
        for (const { resolve } of waiting) resolve();
      } catch (error) {
        for (const { reject } of waiting) reject(error);
        if (keys === undefined) this.#allChanged = true;
        for (const key of keys ?? []) this.#changedKeys.add(key);
        const { collection, logger } = this.#options;
        if (!failureReported)
          logger.warn({ err: error, collection }, "changes cannot be read: the cached documents stay in use");
        failureReported = true;
        await after(RETRY_MS, undefined, { signal: this.#stopped.signal, ref: false }).catch(() => undefined);
      }
    }
    // Reset before the promises resolve: a caller that then schedules another read must start a new loop.
    this.#reading = false;
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }

  async #read(keys: readonly string[] | undefined): Promise<void> {
    const { documents, collection } = this.#options;
    if (keys === undefined) {
      const listed = await documents.list(collection);
      this.#values = new Map();
      this.#versions = new Map();
      for (const { key, ...document } of listed) this.#put(key, document);
      this.#notify(undefined);
      return;
    }
    const changed: string[] = [];
    try {
      for (const key of keys) {
        const document = await documents.get(collection, key);
        if (document?.version === this.#versions.get(key)) continue;
        this.#put(key, document);
        changed.push(key);
      }
    } finally {
      // Also when a later document could not be read: the next attempt finds these ones unchanged.
      if (changed.length > 0) this.#notify(changed);
    }
  }

  #notify(keys: readonly string[] | undefined): void {
    for (const listener of this.#listeners) listener(keys);
  }

  #put(key: string, document: StoredDocument | undefined): void {
    const { schema, collection, logger } = this.#options;
    const read = document === undefined ? undefined : schema.safeParse(document.value);
    if (read?.success === false)
      logger.error({ collection, key, reason: read.error.message }, "damaged document ignored");
    if (document === undefined) this.#versions.delete(key);
    else this.#versions.set(key, document.version);
    if (read?.success) this.#values.set(key, read.data);
    else this.#values.delete(key);
  }
}
