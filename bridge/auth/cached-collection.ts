import type { Logger } from "pino";
import type { z } from "zod";
import type { Documents, StoredDocument } from "../cluster/cluster.ts";

/** Between two attempts to read what has changed while the store is away. */
const RETRY_MS = 500;
/** Changes that are read one by one; with more of them everything is read again. */
const MAX_WANTED = 1_000;

export interface CachedCollectionOptions<Value> {
  documents: Pick<Documents, "get" | "list" | "watch">;
  collection: string;
  schema: z.ZodType<Value>;
  logger: Logger;
}

/**
 * A collection of documents in memory, as all nodes have left it: read at the start, then whatever a watch says has
 * changed. So what it holds is known at once, and while the store is away, too. A document that cannot be read is
 * logged, and is not there.
 */
export class CachedCollection<Value> {
  readonly #options: CachedCollectionOptions<Value>;
  readonly #listeners = new Set<(keys: readonly string[] | undefined) => void>();
  #values = new Map<string, Value>();
  #wanted = new Set<string>();
  #everything = false;
  #waiting: { resolve: () => void; reject: (error: unknown) => void }[] = [];
  #reading = false;
  #retry: { timer: NodeJS.Timeout; end: () => void } | undefined;
  #unwatch = () => {};
  #stopped = false;

  private constructor(options: CachedCollectionOptions<Value>) {
    this.#options = options;
  }

  /** @throws {StoreUnavailableError} it cannot be read */
  static async open<Value>(options: CachedCollectionOptions<Value>): Promise<CachedCollection<Value>> {
    const collection = new CachedCollection(options);
    const { documents, collection: name } = options;
    collection.#unwatch = documents.watch(name, (key) => collection.#want(key));
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

  /** After each change, whoever made it, with what may have changed; undefined when it may be anything. @returns ends it */
  onChange(listener: (keys: readonly string[] | undefined) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Resolves when what was there at the time of the call, or is newer, is in memory.
   * @throws {StoreUnavailableError} it could not be read; that is tried again all the same
   */
  refresh(key: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#want(key);
    });
  }

  /** Forgets what is over, without a word to those who listen: that it is over was known. */
  forget(isOver: (value: Value) => boolean): void {
    for (const [key, value] of this.#values) {
      if (isOver(value)) this.#values.delete(key);
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#unwatch();
    this.#retry?.end();
    this.#listeners.clear();
  }

  #want(key: string | undefined): void {
    if (key === undefined || this.#wanted.size >= MAX_WANTED) this.#everything = true;
    else this.#wanted.add(key);
    if (this.#reading) return;
    this.#reading = true;
    void this.#readWanted();
  }

  /** One reading at a time, so that an older answer never comes after a newer one. */
  async #readWanted(): Promise<void> {
    let complained = false;
    while (!this.#stopped && (this.#everything || this.#wanted.size > 0)) {
      const keys = this.#everything ? undefined : [...this.#wanted];
      const waiting = this.#waiting.splice(0);
      this.#everything = false;
      this.#wanted.clear();
      try {
        await this.#read(keys);
        for (const { resolve } of waiting) resolve();
      } catch (error) {
        for (const { reject } of waiting) reject(error);
        if (keys === undefined) this.#everything = true;
        for (const key of keys ?? []) this.#wanted.add(key);
        const { collection, logger } = this.#options;
        if (!complained) logger.warn({ err: error, collection }, "changes cannot be read: what was known before holds");
        complained = true;
        await this.#pause();
      }
    }
    // Before anybody hears of it: who then asks for more is not to wait for a reading that has ended.
    this.#reading = false;
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }

  async #read(keys: readonly string[] | undefined): Promise<void> {
    const { documents, collection } = this.#options;
    if (keys === undefined) {
      const values = new Map<string, Value>();
      for (const { key, ...document } of await documents.list(collection)) this.#put(values, key, document);
      this.#values = values;
    } else {
      for (const key of keys) this.#put(this.#values, key, await documents.get(collection, key));
    }
    for (const listener of this.#listeners) listener(keys);
  }

  #put(values: Map<string, Value>, key: string, document: StoredDocument | undefined): void {
    const { schema, collection, logger } = this.#options;
    const read = document === undefined ? undefined : schema.safeParse(document.value);
    if (read?.success === false) logger.error({ collection, key, reason: read.error.message }, "a document is damaged");
    if (read?.success) values.set(key, read.data);
    else values.delete(key);
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(this.#retry?.timer);
        this.#retry = undefined;
        resolve();
      };
      this.#retry = { timer: setTimeout(end, RETRY_MS), end };
      this.#retry.timer.unref();
    });
  }
}
