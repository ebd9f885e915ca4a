import type { Gap, UnrecoverableReason } from "../../contract/socket-messages.ts";

/** An accepted publication, ready to be given its position. */
export interface JournalMessage {
  /** The MQTT topic, whole. */
  topic: string;
  /** The channels that carry it; none for what no dashboard sees. */
  channels: readonly string[];
  /** The camera it belongs to, or names (`{"camera": "north"}` in a job), for readers narrowed to some cameras. */
  camera: string | undefined;
  /**
   * The event as dashboards get it, without what only a delivery knows: the inside of a JSON object, such as
   * `"event":"x","data":{},"timestamp":"…","topic":"…"`. Encoded once, here, for every receiver and every replay.
   */
  body: string;
  /**
   * What it does to the state of its topic: `set` and `clear` are retained publications; an event does nothing.
   * A historical publication never sets state.
   */
  state: "set" | "clear" | undefined;
  /** Who sent it and how it named the message; the grounds on which a repetition is known. */
  origin: MessageOrigin;
  /** What MQTT subscribers are to get, should the program die before they do. Undefined for what is not forwarded. */
  publish: { payload: Uint8Array; qos: 0 | 1 | 2; retain: boolean } | undefined;
}

export interface MessageOrigin {
  /** The sender's identity (`device:north`, `user:alice`), not its MQTT client id: that changes. */
  sender: string;
  id: string | undefined;
  session: string | undefined;
  seq: number | undefined;
}

/** What an append came to: a new position, or the knowledge that the message is in the journal already. */
export type Appended = { position: number; duplicate: false } | { position: undefined; duplicate: true };

/** One line of the journal. */
export interface Entry {
  position: number;
  topic: string;
  channels: readonly string[];
  camera: string | undefined;
  body: string;
  state: "set" | "clear" | undefined;
  /** When it was accepted, in milliseconds since 1970. */
  acceptedAt: number;
}

/** The last value of a retained topic. */
export type StateEntry = Omit<Entry, "state">;

/** A message whose delivery to MQTT subscribers was not completed before the program ended. */
export interface Undelivered {
  position: number;
  topic: string;
  payload: Uint8Array;
  qos: 0 | 1 | 2;
  retain: boolean;
}

export interface ReplayRequest {
  /** Entries of any of these channels, each once, in order of position. */
  channels: readonly string[];
  /** Only entries above this position. */
  after: number;
  /** Only entries up to and with this position. Default: the newest. */
  until?: number;
  /** Default 100. */
  maxEvents?: number;
  /** Ends the page early; always at least one entry. Default 262,144. */
  maxBytes?: number;
}

export interface ReplayPage {
  entries: readonly Entry[];
  /** Where the next page begins: every entry of the channels up to and with this position has been read. */
  next: number;
  /** True when `next` has reached `until`. */
  done: boolean;
  /**
   * Entries that the page should have, and that retention has removed or a damaged store has lost: those above `after` and before `before`. Undefined
   * when there are none. A reader that takes its time between pages may fall behind retention on the way.
   */
  gap?: Gap;
}

/**
 * Whether everything after a client's place is still there. The gap is what can not be given any more, of the entries
 * that were accepted in this epoch: all after `after` and before `before`. What follows it, `replay` has.
 * - `trimmed`: `after` is the client's place, `before` the first position that the channel may still have.
 * - `epoch_changed`: the client's position means nothing here, so `after` is 0.
 * - `damaged`: the store lost entries; the gap is the first hole behind the client's place. What is before the hole and
 *   behind it, `replay` has.
 * - `ahead`: this journal never got as far as the client's place; the gap lies behind the head and is empty.
 */
export type Recovery =
  | { complete: true }
  | {
      complete: false;
      reason: UnrecoverableReason;
      gap: Gap;
      /**
       * Of what was trimmed: not all within the gap is gone, and from here on `replay` has what is kept of it. Undefined:
       * nothing is.
       */
      keptFrom?: number;
    };

/**
 * The durable, ordered record of everything accepted. A position is a whole number from 1 that only grows, unique over
 * all topics; it means something within its epoch only.
 *
 * Order is that of the calls to {@link Journal.append}: it is fixed synchronously, before anything is awaited.
 */
export interface Journal {
  /** A random name made when the journal is created. */
  readonly epoch: string;
  /** The newest durable position; 0 when there is none. */
  readonly head: number;
  /**
   * Resolves when the message is durable, after it was handed to followers. Messages of one moment share one write.
   * @throws {StoreUnavailableError} nothing was kept; the sender must not be acknowledged
   */
  append(message: JournalMessage): Promise<Appended>;
  /** Calls back with every batch of new entries, in order, once they are durable. */
  follow(onEntries: (entries: readonly Entry[]) => void): () => void;
  replay(request: ReplayRequest): Promise<ReplayPage>;
  /** Whether a client that last saw `position` of `epoch` on `channel` can be given everything after it. */
  recovery(channel: string, since: { epoch: string; position: number }): Recovery;
  /** The state of a channel's retained topics, exactly as of `head`: read synchronously, so nothing falls between. */
  snapshot(channel: string): readonly StateEntry[];
  /** The state of one topic. */
  state(topic: string): StateEntry | undefined;
  /** Whether the channel has a place in the journal: it has entries, or had some lately. */
  hasChannel(channel: string): boolean;
  /** The channels that have a place. */
  channelNames(): Iterable<string>;
  /** How many channels more can have a place. */
  readonly freeChannels: number;
  /** MQTT subscribers have been given the message. */
  delivered(position: number): void;
  /** Messages that were accepted but not emitted when the program ended, in order. */
  undelivered(): AsyncIterable<Undelivered>;
  /**
   * Calls back when there is more for `unemitted` to give: another node died, or the answer to an append was lost.
   * Never on a journal of one node.
   */
  onUndelivered(listener: () => void): () => void;
  /**
   * Calls back when followers were not given everything up to `head`, which with `epoch` and the state is another by
   * then: the store was lost, or this node was cut off from it for too long. Whoever has a place in the journal asks
   * `recovery` about it again. Never on a journal of one node.
   */
  onReset(listener: () => void): () => void;
  /** Removes what retention no longer keeps. Runs by itself; resolves to how many entries went. */
  trim(): Promise<number>;
  /** Undefined while writing works; else why it does not, in words for an operator. */
  readonly unavailableReason: string | undefined;
  close(): Promise<void>;
}
