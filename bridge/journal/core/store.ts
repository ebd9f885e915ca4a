import type { BrokerRows, EarlierRows, LoggedPublication, MqttLog } from "../../../platform/publication-log.ts";
import type { ShareStore } from "../../../platform/share-store.ts";
import type { Appended, Entry, JournalMessage, JournalReader, OpenPublication, ReplacedEpoch } from "../journal.ts";
import type { Waiter } from "./append-queue.ts";
import type { JournalView } from "./journal-view.ts";
import type { PageStore } from "./page-reader.ts";
import type { PublicationStore, StoredPublicationLog } from "./publication-log.ts";

/**
 * A store of the journal, as {@link StoredJournal} uses it. The rules for every store:
 *
 * - **Writing.** The store writes the appended messages in groups, in the order of the calls. A group is stored
 *   completely or not at all: its entries, the state, the publications, the retained messages, the open commands and the
 *   incoming ids. The store finds duplicates and assigns the positions.
 * - **Order.** Once all entries up to the end of a group are durable, the store applies them to its view, and passes them
 *   to {@link StoreOwner.publish}, each entry once and in order. Then the appends of the group resolve. With several
 *   nodes, the entries of other nodes come in the same way, in the same order.
 * - **View.** The view is this node's copy of what readers see. A store that finds another journal, or that has missed
 *   entries, replaces its view and calls {@link StoreOwner.reset}.
 * - **Failures.** Methods fail with a `StoreUnavailableError` while the store is unavailable.
 *
 * LevelDB (`stores/level`): one process has the store open and assigns the positions. It knows what it has lost. Redis
 * (`stores/redis`): a script assigns the positions for all nodes; entries of other nodes are read from the log in Redis.
 */
export interface JournalStore {
  readonly view: JournalView;
  /** Why writing fails. Undefined while it works. */
  readonly unavailableReason: string | undefined;
  readonly pages: PageStore;
  readonly publications: PublicationStore;
  readonly rows: BrokerRows;
  readonly earlier: EarlierRows;
  /** Undefined: no other node uses the store. */
  readonly shares?: ShareStore;
  /** Begins to write, and to follow other nodes. Called once, before all other methods. */
  start(): Promise<void>;
  /** Queues a message. @throws {RangeError} an invalid channel name @throws {StoreUnavailableError} */
  append(message: JournalMessage, resolve: Waiter["resolve"], reject: Waiter["reject"]): void;
  /** The newest position of all nodes. Undefined: this node is the only one. @throws {StoreUnavailableError} */
  readonly newest?: () => Promise<{ epoch: string; head: number }>;
  /** Removes expired entries that no reader waits for. Resolves to their number. */
  trim(readers: Iterable<JournalReader>): Promise<number>;
  readonly incomingIds: MqttLog["incomingIds"];
  readonly removeIncomingIds: MqttLog["removeIncomingIds"];
  readonly replaceIncomingIds?: MqttLog["replaceIncomingIds"];
  /** Notes that a command is finished. @returns whether {@link flushFinished} has something to write */
  finished(position: number): boolean;
  /** Removes finished commands. Those that are not removed join a later write. */
  flushFinished(): Promise<void>;
  /** As {@link Journal.unfinished}. */
  unfinished(): AsyncIterable<OpenPublication>;
  /** Resolves when no append waits and nothing is removed. Nothing new begins. Never rejects. */
  idle(): Promise<void>;
  /** Writes the rest, and closes the store in any case. */
  close(): Promise<void>;
}

/** The journal above a store, as the store uses it. */
export interface StoreOwner {
  readonly log: StoredPublicationLog;
  readonly isClosing: boolean;
  append(message: JournalMessage): Promise<Appended>;
  readonly mqtt: Pick<MqttLog, "append">;
  /**
   * Passes durable entries, which the view has, to the followers.
   * @param skippedStateTopic the first topic whose state was not stored because the state table is full
   */
  publish(
    entries: readonly Entry[],
    publications: readonly LoggedPublication[],
    skippedStateTopic: string | undefined,
  ): void;
  /** Counts appends of this node, so that retention runs. */
  appended(count: number): void;
  /**
   * The view was replaced. @param replaced set if it has another epoch
   * @param missed entries up to the head that the followers have not received, as far as the store still has them
   */
  reset(replaced: ReplacedEpoch | undefined, missed: readonly Entry[]): void;
  /** {@link JournalStore.unfinished} has new commands. */
  foundUnfinished(): void;
}
