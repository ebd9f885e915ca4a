import { randomBytes } from "node:crypto";
import type { Link } from "./link.ts";
import { NAME_STORE, WRITE_BACK } from "./scripts.ts";

/** One write-back call takes about a millisecond of Redis' time. */
const DOCUMENTS_PER_WRITE = 100;
const PRUNE_INTERVAL_MS = 60_000;

/** Versions sort by the time of their creation. Versions of earlier releases contain no `~`. */
export const newVersion = () => `${Date.now().toString(36).padStart(9, "0")}~${randomBytes(9).toString("base64url")}`;

interface DocumentCacheOptions {
  link: Link;
  hashOf: (collection: string) => string;
  /** The name of the store in the previous run of this node; undefined in the first run. */
  lastName: string | undefined;
  /** Called when the name of the store is first known, and when the name changes. */
  onNamed: (name: string) => void;
  /** Called after the documents were written back to another store, with the number written per collection. */
  onWrittenBack: (written: ReadonlyMap<string, number>) => void;
}

/**
 * A copy of the collections that this node watches, and the name of their store. When Redis is emptied or loses its
 * data, the store's name changes. Then the nodes write their copies back, before any node relies on the empty store.
 */
export class DocumentCache {
  readonly #options: DocumentCacheOptions;
  readonly #collections = new Map<string, Map<string, string>>();
  #storeName: string | undefined;
  #writing: Promise<void> | undefined;
  #prunedAt = 0;
  /** Whether `onNamed` was called in this run. */
  #isNamed = false;

  constructor(options: DocumentCacheOptions) {
    this.#options = options;
    this.#storeName = options.lastName;
  }

  watch(collection: string): void {
    if (!this.#collections.has(collection)) this.#collections.set(collection, new Map());
  }

  /** Caches the collection as it was read. */
  listed(collection: string, documents: Map<string, string>): void {
    if (this.#collections.has(collection)) this.#collections.set(collection, documents);
  }

  /** Caches a document as it was read or written; undefined when it does not exist. */
  found(collection: string, key: string, stored: string | undefined): void {
    const cached = this.#collections.get(collection);
    if (stored === undefined) cached?.delete(key);
    else cached?.set(key, stored);
  }

  /** Whether the cached document differs from the one that was just read. */
  differs(collection: string, key: string, stored: string | null): boolean {
    const known = this.#collections.get(collection)?.get(key);
    return known !== undefined && known !== stored;
  }

  isCached(collection: string): boolean {
    return this.#collections.has(collection);
  }

  /** Removes expired documents from the cache: Redis sends no notice when a document expires. */
  prune(now: number): void {
    if (now - this.#prunedAt < PRUNE_INTERVAL_MS) return;
    this.#prunedAt = now;
    for (const documents of this.#collections.values())
      for (const [key, stored] of documents) {
        const { expiresAt } = headOf(stored);
        if (expiresAt !== "" && Number(expiresAt) <= now) documents.delete(key);
      }
  }

  /**
   * Call it after reading. After false, the cached documents have been written back, and the caller must read again.
   * @throws {StoreUnavailableError}
   */
  async isSameStore(): Promise<boolean> {
    const { link } = this.#options;
    const name = await link.do((redis) => redis.get(link.key("store-name")));
    if (name !== null && (this.#storeName ?? name) === name) {
      this.#named(name);
      return true;
    }
    this.#writing ??= this.#writeBack().finally(() => {
      this.#writing = undefined;
    });
    await this.#writing;
    return false;
  }

  #named(name: string): void {
    if (!this.#isNamed || name !== this.#storeName) this.#options.onNamed(name);
    this.#isNamed = true;
    this.#storeName = name;
  }

  async #writeBack(): Promise<void> {
    const { link, hashOf, onWrittenBack } = this.#options;
    const isFirst = this.#storeName === undefined;
    const counts = new Map<string, number>();
    for (const [collection, documents] of this.#collections) {
      const hash = hashOf(collection);
      const known = [...documents];
      let written = 0;
      for (let at = 0; at < known.length; at += DOCUMENTS_PER_WRITE) {
        const args = known.slice(at, at + DOCUMENTS_PER_WRITE).flatMap(([key, stored]) => {
          const { version, expiresAt } = headOf(stored);
          return [key, version, stored, expiresAt, `${collection}!${key}`];
        });
        written += Number(await link.run(WRITE_BACK, [hash, link.key("expiry")], args));
      }
      counts.set(collection, written);
    }
    // The name is written last: if this node dies before that, another node or the next check writes the rest back.
    const name = await link.run(NAME_STORE, [link.key("store-name")], [randomBytes(9).toString("base64url")]);
    this.#named(String(name));
    if (!isFirst) onWrittenBack(counts);
  }
}

function headOf(stored: string): { version: string; expiresAt: string } {
  const [, version = "", expiresAt = ""] = /^(\S+) (\S*) /.exec(stored) ?? [];
  return { version, expiresAt };
}
