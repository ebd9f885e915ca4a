import type { Gap, Since, UnrecoverableReason } from "../../contract/socket-messages.ts";
import type { IncomingId, LoggedPublication, MqttLog, StoredProperties } from "../../platform/publication-log.ts";
import type { RetainedQuota } from "../../platform/retained-quota.ts";
import type { Fence } from "../cluster/cluster.ts";

export interface JournalMessage {
  topic: string;
  /** Empty when no dashboard receives the message. */
  channels: readonly string[];
  /** The camera that sent the message, or that the message names (`{"camera": "north"}` in a job). */
  camera: string | undefined;
  /**
   * The event as dashboards receive it, encoded once for all of them, without the fields that each delivery adds. The
   * body is the inside of a JSON object, for example `"event":"x","data":{},"timestamp":"…","topic":"…"`.
   */
  body: string;
  /** Whether the message sets or clears the state of its topic. Undefined: the state stays as it is. */
  state: "set" | "clear" | undefined;
  origin: MessageOrigin;
  /** What MQTT subscribers get: part of the log. Undefined when they get nothing from there. */
  publish: Publication | undefined;
  /**
   * Kept until {@link Journal.finished}, and no part of the log: a command, which the relay sends on in its own name.
   * Default: none.
   */
  open?: Publication | undefined;
  /** The fence of the task for which this node publishes. The store takes the message only while this node holds the lease. */
  fence?: Fence | undefined;
  /** The store takes this client's will only while this node has the client. As in `IncomingPublication`. */
  willOf?: string | undefined;
  /** The store checks these limits of a retained message, if it has several nodes. As in `IncomingPublication`. */
  quota?: RetainedQuota | undefined;
  /** Stored together with the message. Default: none. */
  incomingId?: IncomingId | undefined;
}

/** A message as MQTT subscribers receive it. */
export interface Publication extends StoredProperties {
  payload: Uint8Array;
  qos: 0 | 1 | 2;
  retain: boolean;
  /** See `encodeReference`. */
  reference?: LoggedPublication["reference"];
}

/** Keeps a retained message from being retained. Subscribers get it as any other message. */
export function withoutRetaining(message: JournalMessage): void {
  message.state = undefined;
  if (message.publish === undefined) return;
  message.publish.retain = false;
  // The broker forwards it without the log.
  if (message.publish.qos === 0) message.publish = undefined;
}

/** Identifies a message, so that duplicates are detected: by sender and id, or by sender, session and `seq`. */
export interface MessageOrigin {
  /** The sender's identity (`device:north`, `user:alice`). It is not the MQTT client id, which may change. */
  sender: string;
  id: string | undefined;
  session: string | undefined;
  seq: number | undefined;
}

export type Appended = { position: number; duplicate: false } | { position: undefined; duplicate: true };

export interface Entry {
  position: number;
  topic: string;
  channels: readonly string[];
  camera: string | undefined;
  body: string;
  state: "set" | "clear" | undefined;
  /** The time of acceptance, milliseconds since 1970. */
  acceptedAt: number;
}

/** The last value of a retained topic. */
export type StateEntry = Omit<Entry, "state">;

export interface OpenPublication extends Publication {
  position: number;
  topic: string;
}

export interface ReplayRequest {
  /** The page has the entries of all these channels, each entry once, in order of position. */
  channels: readonly string[];
  after: number;
  /** The last position, included. Default: the newest position. */
  until?: number;
  /** The largest number of entries. Default 100. */
  maxEvents?: number;
  /** The largest total length of the bodies. A page always has at least one entry. Default 262,144. */
  maxBytes?: number;
}

export interface ReplayPage {
  entries: readonly Entry[];
  /** The cursor for the next page: all entries of the channels up to and including this position have been read. */
  next: number;
  done: boolean;
  /**
   * The positions whose entries are missing from the page, because retention removed them, perhaps between two pages,
   * or because a damaged store lost them. Undefined when no entry is missing.
   */
  gap?: Gap;
}

/** A request for entries of the whole journal, whatever their channels. */
export interface ReadRequest {
  /** Only entries above this position. */
  after: number;
  /** The largest number of entries. Default 100. */
  maxEvents?: number;
  /** The largest total length of the bodies. A page has at least one entry if there is one. Default 262,144. */
  maxBytes?: number;
}

export interface JournalPage {
  entries: readonly Entry[];
  /** The cursor for the next page: every kept entry up to and including this position has been read. */
  next: number;
  /** The missing positions between the cursor and the first entry of the page. Undefined: none. */
  gap?: MissingRange;
}

export interface MissingRange extends Gap {
  /** `trimmed`: retention removed the entries. `damaged`: the store lost them. */
  reason: "trimmed" | "damaged";
}

/** Reads the whole journal. Retention waits for this reader. */
export interface JournalReader {
  name: string;
  /** Whether the readers with this name at all nodes count as one reader with one position. */
  isShared: boolean;
  /** The largest number of entries that retention keeps for the reader. */
  maxEvents: number;
  /** The position up to which everything is read; undefined while it is unknown. */
  position(): number | undefined;
}

/**
 * Whether the journal has every entry after a client's cursor. If not, the entries above `gap.after` and below
 * `gap.before` are missing. `replay` returns the entries after the gap.
 * - `trimmed`: `after` is the cursor; `before` is the lowest position that the channel may still have.
 * - `epoch_changed`: the journal has lost entries and begun a new epoch. Usually the journal knows up to which position
 *   it has the entries of the earlier epoch: then `after` is at most this position, `before` is above the cursor, and
 *   `keptFrom` is set. Otherwise the cursor has no meaning, and `after` is 0.
 * - `damaged`: the store lost entries. The gap is the first gap after the cursor. `replay` also returns the entries
 *   between the cursor and the gap.
 * - `ahead`: the cursor is above the newest position. The gap begins at the newest position and is empty.
 */
export type Recovery =
  | { complete: true }
  | {
      complete: false;
      reason: UnrecoverableReason;
      gap: Gap;
      /** Set for `trimmed` if some entries within the gap are kept, and for `epoch_changed`: `replay` from here returns them. */
      keptFrom?: number;
    };

/** An epoch that has ended, because the store has lost entries. */
export interface ReplacedEpoch {
  epoch: string;
  /** The new epoch has everything up to this position that this node has passed on. Undefined: nobody knows. */
  shared: number | undefined;
  /** How many entries are lost that this node has appended. Without `shared`, at least as many. */
  lostEvents: number;
}

/**
 * The durable, ordered record of every accepted publication.
 *
 * - A **position** is a whole number from 1. One sequence of growing positions covers all topics. Concurrent calls of
 *   {@link Journal.append} get their positions in the order of the calls.
 * - An **epoch** is a random name of the journal. A position has a meaning only within its epoch. A new epoch begins
 *   when the journal is created, restored from a copy, or may have lost entries.
 * - Each **channel** has its own retention.
 * - The **state** is the newest retained message of each topic. It outlives the retention of its entry.
 *
 * `core/stored-journal.ts` is the implementation, above a store: `stores/level` (one node) or `stores/redis` (several
 * nodes). `shared-channels.ts` wraps it and limits the share of one sender in a channel.
 */
export interface Journal {
  readonly epoch: string;
  /** The newest durable position; 0 when the journal is empty. */
  readonly head: number;
  /**
   * Resolves once the message is durable and the followers have received it.
   * @throws {RangeError} an invalid channel name
   * @throws {LeaseLostError} this node does not hold the lease of the fence
   * @throws {StoreUnavailableError} the message is not stored (with Redis, it may be stored). The sender must not be
   *   acknowledged, and should retry.
   */
  append(message: JournalMessage): Promise<Appended>;
  /**
   * Calls back with each batch of new, durable entries, in order. After {@link onReset}, entries may follow whose positions
   * were those of lost ones. @returns stops following
   */
  follow(onEntries: (entries: readonly Entry[]) => void): () => void;
  /** @throws {StoreUnavailableError} the store cannot be read */
  replay(request: ReplayRequest): Promise<ReplayPage>;
  /**
   * Reads one page of the whole journal in order of position. An entry is kept while any of its channels keeps it.
   * @throws {StoreUnavailableError} the store cannot be read
   */
  read(request: ReadRequest): Promise<JournalPage>;
  /** @param shared the position up to which the cursor's epoch, if it is an earlier one, is kept. Default: what is known */
  recovery(channel: string, since: Since, shared?: number): Recovery;
  /**
   * With several nodes, a client may have received events from another node that this node has not read yet. Resolves
   * when this node has read them, or when the journal does not have the position. Undefined: there is nothing to wait for.
   * @throws {StoreUnavailableError} they cannot be read now
   */
  reach(since: Since): Promise<void> | undefined;
  /**
   * The state of a channel's retained topics, as of `head` if both are read in one turn of the event loop. `NO_CHANNEL`
   * stands for the topics that are in no channel, such as the links of cameras.
   */
  snapshot(channel: string): readonly StateEntry[];
  state(topic: string): StateEntry | undefined;
  /** Whether the journal knows the channel: it has entries, or had entries recently. */
  hasChannel(channel: string): boolean;
  channelNames(): Iterable<string>;
  /** The number of channels that can still be added. */
  readonly freeChannels: number;
  /** Notes that the relay has finished a command. */
  finished(position: number): void;
  /** The commands that earlier runs and dead nodes have not finished, in order of position. */
  unfinished(): AsyncIterable<OpenPublication>;
  /** Calls back when `unfinished` has new commands. With several nodes only: a node died, or a reply was lost. */
  onUnfinished(listener: () => void): () => void;
  /**
   * Calls back after `epoch`, `head` and the state were reloaded, because the store lost data or this node was
   * disconnected from the store for too long. Holders of a cursor must call `recovery` again. With several nodes only.
   * @param listener gets the epoch that has ended, if the store lost data
   */
  onReset(listener: (replaced: ReplacedEpoch | undefined) => void): () => void;
  /** How many entries the store has lost that this node has appended, since the start of this node. */
  readonly lostEvents: number;
  /**
   * Retention keeps the entries that the reader has not read yet, up to `maxEvents` of them. Without a position, it
   * keeps the newest `maxEvents` entries. With Redis, it also stops waiting for a reader that is away for an hour, and
   * for all readers while the memory of Redis is nearly full. @returns a function that ends the wait
   */
  keepFor(reader: JournalReader): () => void;
  /** Removes expired entries, as the journal also does by itself. Resolves to the number of removed entries. */
  trim(): Promise<number>;
  /** The log of publications for MQTT subscribers, and the rows of MQTT sessions. */
  readonly mqtt: MqttLog;
  /** Why writing fails, for an operator. Undefined while writing works. */
  readonly unavailableReason: string | undefined;
  /** Completes the pending appends. Idempotent. */
  close(): Promise<void>;
}
