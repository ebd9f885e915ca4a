import type { SnapshotRequest } from "./page-cache.ts";
import type { GroupMember } from "./subscriber-group.ts";

/** A delivery that a subscriber gets before it continues from its cursor. */
type BackfillTask =
  /** The state of a channel, from the entry with index `next` on. */
  | SnapshotRequest
  /**
   * The entries of a channel above `after`, up to and including `until`, which is the cursor at the subscription. An
   * entry that was already sent under another channel is sent again, because the client was promised all entries.
   */
  | RangeTask;

export interface RangeTask {
  kind: "range";
  channel: string;
  after: number;
  until: number;
}

/** Not at the live edge. Lagging: the socket was full, so pages omit state that a later entry replaces. */
export interface Behind {
  readonly kind: "backfilling" | "lagging";
  /** Everything up to and including this position was sent, except the entries of `tasks`. */
  cursor: number;
  /** Done first, in order. */
  readonly tasks: BackfillTask[];
  /** The channels for which `caught_up` is sent at the live edge. A lagging subscriber gets it for all channels. */
  readonly announce: Set<string>;
}

export type SubscriberState =
  | { readonly kind: "idle" }
  | Behind
  | { readonly kind: "live"; readonly member: GroupMember };

/** `cursor`: everything up to this position was sent. */
export type SubscriberEvent =
  /** Delivery stops, so that the subscription can change. */
  | { kind: "interrupted"; cursor: number }
  /** Delivery starts again after an interruption, if any channel remains. */
  | { kind: "continued"; hasChannels: boolean }
  /** The socket is full. */
  | { kind: "fell behind"; cursor: number }
  /** The cursor is at the live edge, and no tasks remain. */
  | { kind: "joined"; member: GroupMember }
  /** The journal was replaced during an interruption: the old tasks and cursor mean nothing in the new journal. */
  | { kind: "replaced"; cursor: number };

export const IDLE: SubscriberState = { kind: "idle" };

/**
 * The life of a subscriber. It begins idle.
 *
 * ```
 *   idle ◀──── continued, without channels ────┐
 *    │                                         │
 *    │ interrupted                             │
 *    ▼                                         │
 *   backfilling ───────────────────────────────┤
 *    │  ▲     ▲                                │
 *    │  │     └───── replaced ────────┐        │
 *    │  │ interrupted                 │        │
 *    │  │                             │        │
 *    │ joined       fell behind       │        │
 *    └──▶ live ──────────────────▶ lagging ────┘
 *          ▲                          │
 *          └───────── joined ─────────┘
 * ```
 *
 * An event without an arrow changes nothing. For example, the last flush before an interruption may find the socket
 * full. The subscriber then lags, and the interruption does not change that.
 */
export function transition(state: SubscriberState, event: Extract<SubscriberEvent, { kind: "interrupted" }>): Behind;
export function transition(state: Behind, event: Extract<SubscriberEvent, { kind: "replaced" }>): Behind;
export function transition(state: SubscriberState, event: SubscriberEvent): SubscriberState;
export function transition(state: SubscriberState, event: SubscriberEvent): SubscriberState {
  switch (event.kind) {
    case "interrupted":
      return isBehind(state) ? state : behind("backfilling", event.cursor);
    case "continued":
      return isBehind(state) && !event.hasChannels ? IDLE : state;
    case "fell behind":
      return state.kind === "live" ? behind("lagging", event.cursor) : state;
    case "joined":
      return isBehind(state) ? { kind: "live", member: event.member } : state;
    case "replaced":
      return isBehind(state) ? behind("backfilling", event.cursor) : state;
  }
}

export function isBehind(state: SubscriberState): state is Behind {
  return state.kind === "backfilling" || state.kind === "lagging";
}

function behind(kind: Behind["kind"], cursor: number): Behind {
  return { kind, cursor, tasks: [], announce: new Set() };
}
