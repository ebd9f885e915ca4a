import { randomBytes } from "node:crypto";
import type { Logger } from "pino";
import { z } from "zod";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import type { OnDamage } from "../../../platform/level/damage.ts";
import { openDatabase } from "../../../platform/level/database.ts";
import type { Loss } from "../../../platform/level/open-store.ts";
import { namesIn } from "../../../platform/level/scan.ts";
import { Store } from "../../../platform/level/store.ts";
import { WriteSet } from "../../../platform/level/write-set.ts";
import { NamedListeners } from "../../../platform/listeners.ts";
import type { Documents, Json, PutOptions, StoredDocument } from "../cluster.ts";
import { checkCollection, checkKey, encodeValue, MAX_WAITING_WRITES } from "../limits.ts";

const MAX_GROUP = 500;
const SWEEP_INTERVAL_MS = 60_000;
/** The most expired documents that one sweep removes. The next sweep removes more. */
const MAX_SWEPT = 5_000;

const rowSchema = z.object({ version: z.string(), expiresAt: z.number().optional(), value: z.json() });
type Row = z.infer<typeof rowSchema>;

interface Change {
  collection: string;
  key: string;
  rowKey: string;
  /** Receives the current document. Returns the new one, undefined to delete it, or `unchanged`. */
  decide: (before: Row | undefined) => Row | undefined | "unchanged";
  resolve: (after: Row | undefined | "unchanged") => void;
  reject: (error: unknown) => void;
}

interface LocalDocumentsOptions {
  path: string;
  onDamage: OnDamage;
  logger: Logger;
  now: () => number;
}

const WHAT = "the store of users, devices and revocations";
const KEY_START = /document!/g;

/** Without these documents, a removed user may exist again, and a revoked token may be valid again. */
function reportLoss({ reason, ranges, logParts, isBounded }: Loss, onDamage: OnDamage, logger: Logger): void {
  const named = [
    ...ranges.map(({ from, to }) => `those from ${from || "the first"} to ${to}`),
    ...namesIn(logParts, KEY_START, (key) => key.replace("document!", "") || undefined),
  ];
  const which = named.length === 0 || !isBounded ? ["any of them", ...named] : named;
  const missing =
    "changes of users, devices, logins and revocations may be missing " +
    `(${which.join(", ").replaceAll("document!", "")}): check the output of skylapse user list and skylapse device ` +
    "list, and set a new JWT_SECRET if tokens were revoked";
  logger.error({ loss: reason, documents: which }, "cluster store is damaged, some documents may be missing");
  onDamage({ store: "cluster", found: reason, missing });
}

/** Documents in LevelDB, synced to the disk. Changes that arrive during a write share the next write. */
export class LocalDocuments implements Documents {
  readonly #store: Store;
  readonly #logger: Logger;
  readonly #now: () => number;
  readonly #watchers: NamedListeners<[key: string | undefined]>;
  /** The rows before the current write, or before a write whose outcome is unknown. */
  readonly #before = new Map<string, string | undefined>();
  #waiting: Change[] = [];
  #writing: Promise<void> | undefined;
  #sweeper: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;

  private constructor(db: Store["db"], { path, logger, now }: Omit<LocalDocumentsOptions, "onDamage">) {
    this.#logger = logger;
    this.#now = now;
    this.#watchers = new NamedListeners(logger);
    this.#store = new Store(db, {
      ...{ path, logger, sync: true, what: "cluster store" },
      truth: (key) => this.#before.get(key),
      proof: (set) => set.put("written", String(now())),
    });
  }

  /** @throws {StoreUnusableError} */
  static async open({ onDamage, ...options }: LocalDocumentsOptions): Promise<LocalDocuments> {
    const { db, loss } = await openDatabase(options.path, WHAT);
    if (loss !== undefined) reportLoss(loss, onDamage, options.logger);
    const documents = new LocalDocuments(db, options);
    documents.#sweeper = setInterval(() => void documents.sweep().catch(() => {}), SWEEP_INTERVAL_MS).unref();
    return documents;
  }

  get unavailableReason(): string | undefined {
    return this.#store.unavailableReason;
  }

  async get(collection: string, key: string): Promise<StoredDocument | undefined> {
    const row = await this.#read(rowKeyOf(collection, key));
    return row === undefined || this.#expired(row) ? undefined : { value: row.value, version: row.version };
  }

  async list(collection: string, prefix = ""): Promise<readonly (StoredDocument & { key: string })[]> {
    const first = rowKeyOf(collection, "-").slice(0, -1);
    const from = first + prefix;
    const until = from.slice(0, -1) + String.fromCharCode(from.charCodeAt(from.length - 1) + 1);
    const rows = await this.#store.read((db) => db.iterator({ gte: from, lt: until }).all());
    const documents: (StoredDocument & { key: string })[] = [];
    for (const [rowKey, text] of rows) {
      const row = this.#parse(rowKey, this.#before.has(rowKey) ? this.#before.get(rowKey) : text);
      if (row !== undefined && !this.#expired(row))
        documents.push({ key: rowKey.slice(first.length), value: row.value, version: row.version });
    }
    return documents;
  }

  async put(collection: string, key: string, value: Json, options: PutOptions = {}): Promise<string | undefined> {
    const { ifVersion, expiresAt } = options;
    // A copy: the caller may change its object later.
    const copy = z.json().parse(JSON.parse(encodeValue(value)));
    const row: Row = { version: randomBytes(9).toString("base64url"), value: copy, expiresAt };
    const after = await this.#change(collection, key, (before) =>
      ifVersion === undefined || ifVersion === (before?.version ?? null) ? row : "unchanged",
    );
    return after === "unchanged" ? undefined : row.version;
  }

  async delete(collection: string, key: string, { ifVersion }: { ifVersion?: string } = {}): Promise<boolean> {
    const after = await this.#change(collection, key, (before) =>
      before !== undefined && (ifVersion === undefined || ifVersion === before.version) ? undefined : "unchanged",
    );
    return after !== "unchanged";
  }

  watch(collection: string, onChange: (key: string | undefined) => void): () => void {
    checkCollection(collection);
    return this.#watchers.add(collection, onChange);
  }

  /** @throws {StoreUnavailableError} */
  async probe(): Promise<void> {
    const set = new WriteSet();
    set.put("written", String(this.#now()));
    await this.#exclusive(async () => {
      await this.#store.ready();
      await this.#store.write(new WriteSet(), set);
    });
  }

  /** Deletes expired documents from the disk. Reads skip them already. */
  async sweep(): Promise<void> {
    const until = `expiry!${paddedTime(this.#now())}`;
    await this.#exclusive(async () => {
      await this.#store.ready();
      const entries = await this.#store.read((db) =>
        db.iterator({ gt: "expiry!", lte: `${until}~`, limit: MAX_SWEPT }).all(),
      );
      const set = new WriteSet();
      for (const [expiryKey, rowKey] of entries) {
        set.del(expiryKey);
        const row = await this.#read(rowKey);
        if (row !== undefined && this.#expired(row)) set.del(rowKey);
      }
      if (set.size > 0) await this.#store.write(new WriteSet(), set);
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    clearInterval(this.#sweeper);
    this.#watchers.clear();
    while (this.#writing !== undefined) await this.#writing;
    await this.#store.close();
  }

  #change(collection: string, key: string, decide: Change["decide"]): Promise<Row | undefined | "unchanged"> {
    const rowKey = rowKeyOf(collection, key);
    if (this.#closing !== undefined) throw new StoreUnavailableError("the program is stopping");
    if (this.#waiting.length >= MAX_WAITING_WRITES)
      throw new StoreUnavailableError(`${MAX_WAITING_WRITES} changes already wait for the disk: the disk is too slow`);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ collection, key, rowKey, decide, resolve, reject });
      this.#wake();
    });
  }

  #wake(): void {
    if (this.#writing !== undefined || this.#waiting.length === 0) return;
    void this.#exclusive(async () => {
      await new Promise((resolve) => setImmediate(resolve));
      await this.#writeGroup(this.#waiting.splice(0, MAX_GROUP));
    });
  }

  /** One write at a time. Afterwards, the waiting changes are written. */
  async #exclusive(work: () => Promise<void>): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
    const working = work();
    this.#writing = working
      .catch(() => {})
      .finally(() => {
        this.#writing = undefined;
        this.#wake();
      });
    await working;
  }

  async #writeGroup(changes: readonly Change[]): Promise<void> {
    const set = new WriteSet();
    const rows = new Map<string, { text: string | undefined; row: Row | undefined }>();
    const outcomes: (Row | undefined | "unchanged")[] = [];
    try {
      await this.#store.ready();
      const keys = [...new Set(changes.map(({ rowKey }) => rowKey))];
      const texts = await this.#store.read((db) => db.getMany(keys));
      for (const [index, key] of keys.entries())
        rows.set(key, { text: texts[index], row: this.#parse(key, texts[index]) });
      for (const { rowKey, decide } of changes) {
        const found = rows.get(rowKey)?.row;
        const after = decide(found === undefined || this.#expired(found) ? undefined : found);
        outcomes.push(after);
        if (after === "unchanged") continue;
        if (found?.expiresAt !== undefined) set.del(expiryKeyOf(found.expiresAt, rowKey));
        if (after === undefined) set.del(rowKey);
        else set.put(rowKey, JSON.stringify(after));
        if (after?.expiresAt !== undefined) set.put(expiryKeyOf(after.expiresAt, rowKey), rowKey);
        rows.set(rowKey, { text: rows.get(rowKey)?.text, row: after });
      }
      if (set.size > 0) {
        // An outdated row of the expiry index is harmless: the sweep checks the document itself.
        for (const key of set.keys) this.#before.set(key, rows.get(key)?.text);
        await this.#store.write(set, new WriteSet());
        this.#before.clear();
      }
    } catch (error) {
      for (const { reject } of changes) reject(error);
      return;
    }
    changes.forEach(({ collection, key, resolve }, index) => {
      const after = outcomes[index];
      resolve(after);
      if (after !== "unchanged") setImmediate(() => this.#watchers.call(collection, key));
    });
  }

  async #read(rowKey: string): Promise<Row | undefined> {
    const text = this.#before.has(rowKey) ? this.#before.get(rowKey) : await this.#store.read((db) => db.get(rowKey));
    return this.#parse(rowKey, text);
  }

  #parse(rowKey: string, text: string | undefined): Row | undefined {
    if (text === undefined) return undefined;
    try {
      return rowSchema.parse(JSON.parse(text));
    } catch (error) {
      this.#logger.error({ err: error, document: rowKey }, "document unreadable, treated as missing");
      return undefined;
    }
  }

  #expired({ expiresAt }: Row): boolean {
    return expiresAt !== undefined && expiresAt <= this.#now();
  }
}

/** The rows of a collection are adjacent: `!` is not allowed in its name, and sorts before all allowed characters. */
function rowKeyOf(collection: string, key: string): string {
  checkCollection(collection);
  checkKey(key);
  return `document!${collection}!${key}`;
}

const expiryKeyOf = (expiresAt: number, rowKey: string) => `expiry!${paddedTime(expiresAt)}!${rowKey}`;

/** Fixed width, so that the order of keys is the order of time. */
const paddedTime = (time: number) => String(Math.max(0, Math.floor(time))).padStart(16, "0");
