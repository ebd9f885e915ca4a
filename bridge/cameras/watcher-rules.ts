import type { Json } from "../cluster/cluster.ts";
import type { Entry, StateEntry } from "../journal/journal.ts";

/**
 * The rules of one watcher: what it remembers of each camera, and the events that it publishes. `watcher.ts` calls them
 * in this order:
 *
 * ```
 *   seed, once ──▶ apply for each new entry, and check at an interval ──▶ settle, once
 * ```
 */
export interface WatcherRules {
  /**
   * Reads the retained topics of all cameras and services.
   * @param isFresh no earlier state was restored, so it is unknown since when the retained values have been true
   */
  seed?(retained: readonly StateEntry[], isFresh: boolean): void;
  /** Handles one journal entry, in journal order. */
  apply(entry: Entry): void;
  /** Handles the passing of time. Called every `checkIntervalMs`. */
  check?(): void;
  /** The process stood still for some milliseconds. Called instead of `check`, before the entries of that time arrive. */
  paused?(milliseconds: number): void;
  /** Stops publishing and waits for publications under way. Never rejects. */
  settle?(): Promise<void>;
}

/** Rules whose state is saved as documents, one for each key. */
export interface CheckpointedRules extends WatcherRules {
  readonly collection: string;
  /** Keys whose documents are out of date. Emptied by each save. */
  readonly changed: Set<string>;
  /** Entries before the next one have expired. Called instead of `apply` for them, while no watcher ran. */
  missed?(): void;
  /** Reads a saved document. A document in an unknown form is skipped. */
  restore(key: string, value: Json): void;
  /** The document to save under a key; null to delete it. */
  document(key: string): Json | null;
}
