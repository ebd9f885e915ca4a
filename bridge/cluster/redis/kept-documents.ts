import { randomBytes } from "node:crypto";
import { Script } from "../../../platform/redis/script.ts";
import type { Link } from "./link.ts";

/** Documents that one script writes back: about a millisecond of Redis' time. */
const DOCUMENTS_PER_WRITE = 100;
const PRUNE_INTERVAL_MS = 60_000;

/** Names the store, unless it has a name. */
const nameScript = new Script(`
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
`);

/** Writes documents where there is none, or an older one: of several nodes the newest knowledge wins, whoever comes first. */
const writeBackScript = new Script(`
local documents, expiry = KEYS[1], KEYS[2]
local written = 0
for index = 1, #ARGV, 5 do
  local key, version, stored, expires_at, member = unpack(ARGV, index, index + 4)
  local there = redis.call('HGET', documents, key)
  local other = there and string.match(there, '^(%S+) ')
  if not other or (string.find(version, '~', 1, true) and (not string.find(other, '~', 1, true) or other < version)) then
    redis.call('HSET', documents, key, stored)
    if expires_at == '' then redis.call('ZREM', expiry, member) else redis.call('ZADD', expiry, expires_at, member) end
    written = written + 1
  end
end
return written
`);

/** A version that sorts by when it was made. Those of earlier versions of this program have no `~`. */
export function newVersion(): string {
  return `${Date.now().toString(36).padStart(9, "0")}~${randomBytes(9).toString("base64url")}`;
}

export interface KeptDocumentsOptions {
  link: Link;
  hashOf: (collection: string) => string;
  /** The name of the store that this node was connected to when it last ran; undefined before its first start. */
  lastName?: string | undefined;
  /** The store's name is known, or another. */
  onNamed?: ((name: string) => void) | undefined;
  /** Another store was found, and what this node knew is in it. @param written how many documents of each collection */
  onWrittenBack: (written: ReadonlyMap<string, number>) => void;
}

/**
 * The collections that this node watches, as it read them last, and the name of the store they are in. When Redis is
 * emptied, or comes back without its data, the name is another: then the nodes write back what they know, before anybody
 * takes the empty store for the truth.
 */
export class KeptDocuments {
  readonly #options: KeptDocumentsOptions;
  readonly #collections = new Map<string, Map<string, string>>();
  #storeName: string | undefined;
  #writing: Promise<void> | undefined;
  #prunedAt = 0;
  /** The name was told in this run. */
  #isNamed = false;

  constructor(options: KeptDocumentsOptions) {
    this.#options = options;
    this.#storeName = options.lastName;
  }

  /** From now on the collection is kept. */
  watch(collection: string): void {
    if (!this.#collections.has(collection)) this.#collections.set(collection, new Map());
  }

  /** What a collection was found to hold. */
  listed(collection: string, documents: Map<string, string>): void {
    if (this.#collections.has(collection)) this.#collections.set(collection, documents);
  }

  /** What a document was found, or made, to be. */
  found(collection: string, key: string, stored: string | undefined): void {
    const kept = this.#collections.get(collection);
    if (stored === undefined) kept?.delete(key);
    else kept?.set(key, stored);
  }

  /** Whether the document is kept, and not as it was found now. */
  differs(collection: string, key: string, stored: string | null): boolean {
    const known = this.#collections.get(collection)?.get(key);
    return known !== undefined && known !== stored;
  }

  isKept(collection: string): boolean {
    return this.#collections.has(collection);
  }

  /** Forgets documents that have expired, which nobody is told of. */
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
   * Whether the store is the one that was known, which is to be asked after reading. If not, what this node knows is in it
   * when this resolves: it is to be read again.
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
    if (!this.#isNamed || name !== this.#storeName) this.#options.onNamed?.(name);
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
        written += Number(await link.run(writeBackScript, [hash, link.key("expiry")], args));
      }
      counts.set(collection, written);
    }
    // Last: a node that ends in between leaves the rest to the others, or to its own next look.
    const name = await link.run(nameScript, [link.key("store-name")], [randomBytes(9).toString("base64url")]);
    this.#named(String(name));
    if (!isFirst) onWrittenBack(counts);
  }
}

function headOf(stored: string): { version: string; expiresAt: string } {
  const [, version = "", expiresAt = ""] = /^(\S+) (\S*) /.exec(stored) ?? [];
  return { version, expiresAt };
}
