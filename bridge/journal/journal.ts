import type { Gap, UnrecoverableReason } from "../../contract/socket-messages.ts";

/** A publication to append. */
export interface JournalMessage {
  /** The full MQTT topic. */
  topic: string;
  /** The channels that carry the message. Empty when no dashboard sees it. */
  channels: readonly string[];
  /**
   * The camera that sent the message, or that it names (`{"camera": "north"}` in a job). Readers may filter by camera.
   */
  camera: string | undefined;
  /**
   * The event as dashboards receive it, without the fields that each delivery adds. It is the inside of a JSON object,
   * for example `"event":"x","data":{},"timestamp":"…","topic":"…"`. It is encoded once for all receivers and replays.
   */
  body: string;
  /**
   * Its effect on the state of the topic. Retained publications `set` or `clear` it; undefined leaves it unchanged.
   * A historical publication never sets state.
   */
  state: "set" | "clear" | undefined;
  /** The sender, and the sender's name for the message. Both together identify duplicates. */
  origin: MessageOrigin;
  /** The publication for MQTT subscribers, kept until {@link Journal.delivered}. Undefined when it is not forwarded. */
  publish: { payload: Uint8Array; qos: 0 | 1 | 2; retain: boolean } | undefined;
}

export interface MessageOrigin {
  /** The sender's identity (`device:north`, `user:alice`). It is not the MQTT client id, which may change. */
  sender: string;
  id: string | undefined;
  session: string | undefined;
  seq: number | undefined;
}

/** The result of an append: a new position, or that the journal already has the message. */
export type Appended = { position: number; duplicate: false } | { position: undefined; duplicate: true };

/** One entry of the journal. */
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

/** A message whose delivery to MQTT subscribers was not completed before the program stopped. */
export interface Undelivered {
  position: number;
  topic: string;
  payload: Uint8Array;
  qos: 0 | 1 | 2;
  retain: boolean;
}

export interface ReplayRequest {
  /** The entries of all these channels are returned, each entry once, in order of position. */
  channels: readonly string[];
  /** Only entries above this position. */
  after: number;
  /** Only entries up to and including this position. Default: the newest. */
  until?: number;
  /** The largest number of entries. Default 100. */
  maxEvents?: number;
  /** The largest total length of the bodies. A page always has at least one entry. Default 262,144. */
  maxBytes?: number;
}

export interface ReplayPage {
  entries: readonly Entry[];
  /** The cursor for the next page: every entry of the channels up to and including this position has been read. */
  next: number;
  /** True when `next` has reached `until`. */
  done: boolean;
  /**
   * The range of positions whose entries are missing from the page, because retention removed them or a damaged store
   * lost them. Undefined when no entry is missing. A slow reader may fall behind retention between two pages.
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
  /** The missing positions directly after the cursor. The entries of the page follow them. Undefined: none. */
  gap?: MissingRange;
}

export interface MissingRange extends Gap {
  /** `trimmed`: retention removed the entries. `damaged`: the store lost them. */
  reason: "trimmed" | "damaged";
}

/**
 * Whether the journal still has every entry after a client's cursor. If not, the gap is the range of missing positions:
 * above `after` and below `before`. `replay` returns the entries after the gap.
 * - `trimmed`: `after` is the cursor; `before` is the lowest position that the channel may still have.
 * - `epoch_changed`: the cursor belongs to another epoch and has no meaning in this one, so `after` is 0.
 * - `damaged`: the store lost entries. The gap is the first one after the cursor. `replay` also returns the entries
 *   between the cursor and the gap.
 * - `ahead`: the cursor is above the newest position. The gap starts at the newest position and is empty.
 */
export type Recovery =
  | { complete: true }
  | {
      complete: false;
      reason: UnrecoverableReason;
      gap: Gap;
      /**
       * Only with `trimmed`, when some entries within the gap are still kept: `replay` returns them for a cursor at
       * this position. Undefined when none of them is kept.
       */
      keptFrom?: number;
    };

/**
 * The durable, ordered record of every accepted publication.
 *
 * - A **position** is a whole number from 1. Positions grow, and one sequence covers all topics. Concurrent calls of
 *   {@link Journal.append} get their positions in the order of the calls.
 * - An **epoch** is a random name of the journal. A position has a meaning only within its epoch. A new epoch begins
 *   when the journal is created, restored from a copy, or may have lost entries.
 * - Each **channel** has its own retention. `replay` reads entries by channel; `recovery` says whether a cursor is
 *   still complete.
 * - The **state** is the newest retained message of each topic. It outlives the retention of its entry.
 *
 * The implementations are `stores/level` (one node) and `stores/redis` (several nodes). Both pass the same tests.
 * `shared-channels.ts` wraps either of them and limits the share of one sender in a channel.
 */
export interface Journal {
  readonly epoch: string;
  /** The newest durable position; 0 when the journal is empty. */
  readonly head: number;
  /**
   * Appends a message. Resolves once the message is durable and the followers have received it. Appends that arrive
   * during a write share the next write.
   * @throws {RangeError} an invalid channel name
   * @throws {StoreUnavailableError} the message is not stored, or with Redis it is unknown whether it is stored: the
   *   sender must not be acknowledged and should retry
   */
  append(message: JournalMessage): Promise<Appended>;
  /** Calls back with each batch of new entries, in order, once the batch is durable. @returns stops following */
  follow(onEntries: (entries: readonly Entry[]) => void): () => void;
  /** Reads one page of entries. @throws {StoreUnavailableError} the store cannot be read */
  replay(request: ReplayRequest): Promise<ReplayPage>;
  /**
   * Reads one page of the whole journal in order of position: for a follower that copies every entry. An entry is kept
   * as long as any of its channels keeps it. @throws {StoreUnavailableError} the store cannot be read
   */
  read(request: ReadRequest): Promise<JournalPage>;
  /** Whether the journal still has every entry of `channel` after the cursor `since`. */
  recovery(channel: string, since: { epoch: string; position: number }): Recovery;
  /**
   * The state of a channel's retained topics, exactly as of `head`: both are read in the same turn of the event loop.
   */
  snapshot(channel: string): readonly StateEntry[];
  /** The state of one topic. */
  state(topic: string): StateEntry | undefined;
  /** Whether the journal knows the channel: the channel has entries, or had some recently. */
  hasChannel(channel: string): boolean;
  /** The channels that the journal knows. */
  channelNames(): Iterable<string>;
  /** The number of channels that can still be added. */
  readonly freeChannels: number;
  /** Notes that the message was delivered to the MQTT subscribers. */
  delivered(position: number): void;
  /** Messages that were accepted but not delivered when the program stopped, in order. */
  undelivered(): AsyncIterable<Undelivered>;
  /**
   * Calls back when `undelivered` has new messages: another node died, or the reply to an append was lost.
   * A journal of one node never calls back.
   */
  onUndelivered(listener: () => void): () => void;
  /**
   * Calls back after `epoch`, `head` and the state were reloaded because followers missed entries: the store lost data,
   * or this node was disconnected from the store for too long. Holders of a cursor must call `recovery` again.
   * A journal of one node never calls back.
   */
  onReset(listener: () => void): () => void;
  /** Removes entries that exceed the retention. It also runs by itself. Resolves to the number of removed entries. */
  trim(): Promise<number>;
  /** Undefined while writing works. Otherwise explains to an operator why it fails. */
  readonly unavailableReason: string | undefined;
  /** Completes the pending appends and closes the store. Idempotent. */
  close(): Promise<void>;
}
