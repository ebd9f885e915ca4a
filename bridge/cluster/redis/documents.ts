import type { Logger } from "pino";
import { z } from "zod";
import { LeaseLostError } from "../../../platform/errors.ts";
import { NamedListeners } from "../../../platform/listeners.ts";
import type { Script } from "../../../platform/redis/script.ts";
import type { Documents, Fence, Json, PutOptions, StoredDocument } from "../cluster.ts";
import { checkCollection, checkKey, encodeValue } from "../limits.ts";
import type { Notice } from "./bus.ts";
import { DocumentCache, newVersion } from "./document-cache.ts";
import { leaseKey } from "./leases.ts";
import type { Link } from "./link.ts";
import { DELETE_DOCUMENT, PUT_DOCUMENT, SWEEP_DOCUMENTS } from "./scripts.ts";

const SCAN_COUNT = 500;
/** The most expired documents that one sweep deletes. The next sweep continues. */
const MAX_SWEPT = 200;

const valueSchema = z.json();

export interface RedisDocumentsOptions {
  link: Link;
  channel: string;
  noticeCount: string;
  /** Keeps the name of the store over restarts. */
  lastStore?: { read(): string | undefined; write(name: string): void } | undefined;
  /** Called after Redis was emptied or replaced, and the cached documents were written back. */
  onWrittenBack: (written: ReadonlyMap<string, number>) => void;
  logger: Logger;
  now: () => number;
}

/** Documents in Redis, one hash per collection. The script that changes a document also notifies all nodes. */
export class RedisDocuments implements Documents {
  readonly #options: Omit<RedisDocumentsOptions, "lastStore" | "onWrittenBack">;
  readonly #watchers: NamedListeners<[key: string | undefined]>;
  readonly #cache: DocumentCache;

  constructor({ lastStore, onWrittenBack, ...options }: RedisDocumentsOptions) {
    this.#options = options;
    this.#watchers = new NamedListeners(options.logger);
    this.#cache = new DocumentCache({
      link: options.link,
      lastName: lastStore?.read(),
      onNamed: (name) => lastStore?.write(name),
      hashOf: (collection) => this.#hashOf(collection),
      onWrittenBack: (written) => {
        onWrittenBack(written);
        this.missed();
      },
    });
  }

  async get(collection: string, key: string): Promise<StoredDocument | undefined> {
    const hash = this.#hashOf(collection);
    checkKey(key);
    for (;;) {
      const stored = await this.#options.link.do((redis) => redis.hget(hash, key));
      // Either the document was changed or deleted, or Redis was emptied or replaced.
      if (this.#cache.differs(collection, key, stored) && !(await this.#cache.isSameStore())) continue;
      this.#cache.found(collection, key, stored ?? undefined);
      return stored === null ? undefined : this.#parse(hash, key, stored);
    }
  }

  async list(collection: string, prefix = ""): Promise<readonly (StoredDocument & { key: string })[]> {
    const hash = this.#hashOf(collection);
    for (;;) {
      const stored = await this.#options.link.readHash(hash, SCAN_COUNT, prefix);
      if (this.#cache.isCached(collection) && !(await this.#cache.isSameStore())) continue;
      if (prefix === "") this.#cache.listed(collection, stored);
      return [...stored].flatMap(([key, text]) => {
        const document = this.#parse(hash, key, text);
        return document === undefined ? [] : [{ key, ...document }];
      });
    }
  }

  async put(collection: string, key: string, value: Json, options: PutOptions = {}): Promise<string | undefined> {
    const { ifVersion, expiresAt, fence } = options;
    const hash = this.#hashOf(collection);
    checkKey(key);
    const version = newVersion();
    const expires = expiresAt === undefined ? "" : String(Math.floor(expiresAt));
    const stored = `${version} ${expires} ${encodeValue(value)}`;
    const mode = ifVersion === undefined ? "any" : ifVersion === null ? "none" : "is";
    const args = [key, mode, ifVersion ?? "", stored, expires, ...this.#commonArgs(collection, key)];
    const isWritten = await this.#run(PUT_DOCUMENT, hash, args, fence);
    if (isWritten) this.#cache.found(collection, key, stored);
    return isWritten ? version : undefined;
  }

  async delete(
    collection: string,
    key: string,
    { ifVersion, fence }: { ifVersion?: string; fence?: Fence } = {},
  ): Promise<boolean> {
    const hash = this.#hashOf(collection);
    checkKey(key);
    const mode = ifVersion === undefined ? "any" : "is";
    const args = [key, mode, ifVersion ?? "", ...this.#commonArgs(collection, key)];
    const isDeleted = await this.#run(DELETE_DOCUMENT, hash, args, fence);
    if (isDeleted) this.#cache.found(collection, key, undefined);
    return isDeleted;
  }

  watch(collection: string, onChange: (key: string | undefined) => void): () => void {
    checkCollection(collection);
    this.#cache.watch(collection);
    return this.#watchers.add(collection, onChange);
  }

  receive({ collection, key }: Extract<Notice, { kind: "document" }>): void {
    this.#watchers.call(collection, key);
  }

  missed(): void {
    this.#watchers.callAll(undefined);
  }

  /** If Redis was emptied or replaced, writes the cached documents back. */
  async checkStore(): Promise<void> {
    await this.#cache.isSameStore();
  }

  async sweep(): Promise<void> {
    this.#cache.prune(this.#options.now());
    const args = [this.#options.link.key(""), this.#options.now(), MAX_SWEPT];
    await this.#options.link.run(SWEEP_DOCUMENTS, [this.#options.link.key("expiry")], args);
  }

  stop(): void {
    this.#watchers.clear();
  }

  async #run(script: Script, hash: string, args: readonly (string | number)[], fence?: Fence): Promise<boolean> {
    const { link, noticeCount } = this.#options;
    const keys = [hash, link.key("expiry"), noticeCount];
    const reply =
      fence === undefined
        ? await link.run(script, keys, args)
        : await link.run(script, [...keys, leaseKey(link, fence.lease)], [...args, fence.number]);
    if (fence !== undefined && reply === -1) throw new LeaseLostError(fence.lease);
    await link.redis.commands.replicated();
    return reply === 1;
  }

  /** The last arguments of scripts that change a document: time, member of the expiry index, channel and notice. */
  #commonArgs(collection: string, key: string): (string | number)[] {
    const { now, channel } = this.#options;
    return [now(), `${collection}!${key}`, channel, JSON.stringify({ kind: "document", collection, key })];
  }

  #hashOf(collection: string): string {
    checkCollection(collection);
    return this.#options.link.key(`documents:${collection}`);
  }

  #parse(hash: string, key: string, stored: string): StoredDocument | undefined {
    const [, version, expiresAt, json] = /^(\S+) (\S*) ([\s\S]*)$/.exec(stored) ?? [];
    if (expiresAt !== undefined && expiresAt !== "" && Number(expiresAt) <= this.#options.now()) return undefined;
    try {
      return { value: valueSchema.parse(JSON.parse(json ?? "")), version: version ?? "" };
    } catch (error) {
      this.#options.logger.error({ err: error, hash, key }, "document unreadable, treated as missing");
      return undefined;
    }
  }
}
