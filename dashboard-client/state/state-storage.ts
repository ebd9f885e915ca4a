/** The rows of a cache that change together. */
export interface StorageChange {
  /** Undefined: the row is deleted. */
  rows: ReadonlyMap<string, unknown>;
  /** Deletes all other rows of the scope. */
  replacesAll: boolean;
}

/** Keeps rows of values that can be cloned, in named scopes. A write is complete or has no effect. */
export interface StateStorage {
  read(scope: string): Promise<ReadonlyMap<string, unknown>>;
  /** @param change gets the value of the row `head`; returns undefined to change nothing */
  update(scope: string, head: string, change: (value: unknown) => StorageChange | undefined): Promise<void>;
  clear(scope: string): Promise<void>;
}

const DATABASE = "skylapse-cache";
const ROWS = "rows";

/** Null if the environment has no IndexedDB. The limit of its size is a share of the free disk: 500 cameras need 2 MB. */
export function browserStateStorage(): StateStorage | null {
  try {
    return typeof indexedDB === "undefined" ? null : new IndexedDbStorage();
  } catch {
    // Browsers throw if their settings forbid the storage.
    return null;
  }
}

let isDeleted = false;

/** Deletes the cached state of all channels and users. This page caches nothing from now on. For a sign-out. */
export async function deleteCachedState(): Promise<void> {
  isDeleted = true;
  if (browserStateStorage() !== null) await new IndexedDbStorage().clear();
}

/** One database, whose keys are `[scope, row]`. */
class IndexedDbStorage implements StateStorage {
  #opening: Promise<IDBDatabase> | undefined;

  async read(scope: string): Promise<ReadonlyMap<string, unknown>> {
    const rows = (await this.#open()).transaction(ROWS).objectStore(ROWS);
    const [keys, values] = await Promise.all([
      resultOf(rows.getAllKeys(rangeOf(scope))),
      resultOf(rows.getAll(rangeOf(scope))),
    ]);
    return new Map(keys.map((key, index) => [String(Array.isArray(key) ? key[1] : key), values[index]]));
  }

  async update(scope: string, head: string, change: (value: unknown) => StorageChange | undefined): Promise<void> {
    const database = await this.#open();
    if (isDeleted) return;
    const transaction = database.transaction(ROWS, "readwrite");
    const done = endOf(transaction);
    const rows = transaction.objectStore(ROWS);
    // All requests are made within the callback, because a transaction without requests ends by itself.
    const request = rows.get([scope, head]);
    request.onsuccess = () => {
      const changed = change(request.result);
      if (changed === undefined) return;
      if (changed.replacesAll) rows.delete(rangeOf(scope));
      for (const [row, value] of changed.rows) {
        if (value === undefined) rows.delete([scope, row]);
        else rows.put(value, [scope, row]);
      }
    };
    await done;
  }

  async clear(scope?: string): Promise<void> {
    const transaction = (await this.#open()).transaction(ROWS, "readwrite");
    const rows = transaction.objectStore(ROWS);
    if (scope === undefined) rows.clear();
    else rows.delete(rangeOf(scope));
    await endOf(transaction);
  }

  #open(): Promise<IDBDatabase> {
    this.#opening ??= open().then((database) => {
      // The browser closes the database if the user deletes the data of the site.
      database.onclose = () => {
        this.#opening = undefined;
      };
      return database;
    });
    return this.#opening;
  }
}

function open(): Promise<IDBDatabase> {
  const request = indexedDB.open(DATABASE, 1);
  request.onupgradeneeded = () => void request.result.createObjectStore(ROWS);
  return resultOf(request);
}

function rangeOf(scope: string): IDBKeyRange {
  // An array is greater than every text.
  return IDBKeyRange.bound([scope], [scope, []]);
}

function resultOf<Result>(request: IDBRequest<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function endOf(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error("the browser aborted the write"));
  });
}
