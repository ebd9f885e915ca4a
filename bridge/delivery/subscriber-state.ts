import type { Snapshot } from "./page-cache.ts";
import type { GroupMember } from "./subscriber-group.ts";

/** What a subscriber must be sent before it continues from its cursor. */
export type BackfillTask =
  /** The state of a channel, from the entry with index `next` on. */
  | { kind: "snapshot"; channel: string; snapshot: Snapshot; next: number }
  /**
   * The entries of a channel above `after` and up to `until`, which is where the cursor was when the channel was
   * subscribed. An entry that was sent by way of another channel is sent again under this one: its subscriber was
   * promised all of them.
   */
  | { kind: "range"; channel: string; after: number; until: number };

/** Not at the live edge. Lagging: the socket was full, so state that a later entry replaces is left out. */
export interface Behind {
  readonly kind: "backfilling" | "lagging";
  /** Everything up to and including this position was sent, except for what the tasks name. */
  cursor: number;
  /** Done first, in order. */
  readonly tasks: BackfillTask[];
  /** Channels that get `caught_up` at the live edge. When lagging, all of them do. */
  readonly announce: Set<string>;
}

export type SubscriberState =
  | { readonly kind: "idle" }
  | Behind
  | { readonly kind: "live"; readonly member: GroupMember };

export type SubscriberEvent =
  /** Delivery stops, so that the subscription can be changed. `cursor`: everything up to here was sent. */
  | { kind: "interrupted"; cursor: number }
  /** The subscription may be delivered: `hasChannels` says whether there is anything to deliver. */
  | { kind: "continued"; hasChannels: boolean }
  /** The socket is full; everything up to `cursor` was sent. */
  | { kind: "fell behind"; cursor: number }
  /** The cursor is at the live edge, and nothing is left to do before. */
  | { kind: "joined"; member: GroupMember }
  /** The journal was replaced: what was to be sent means nothing in it. */
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
 * An event without an arrow changes nothing. For example, the last flush before an interruption may find
 * the socket full: the subscriber is lagging then, and the interruption leaves it so.
 */
export function transition(state: SubscriberState, event: Extract<SubscriberEvent, { kind: "interrupted" }>): Behind;
export function transition(state: SubscriberState, event: Extract<SubscriberEvent, { kind: "replaced" }>): Behind;
export function transition(state: SubscriberState, event: SubscriberEvent): SubscriberState;
export function transition(state: SubscriberState, event: SubscriberEvent): SubscriberState {
  switch (event.kind) {
    case "interrupted":
      return isBehind(state) ? state : behind("backfilling", event.cursor);
    case "continued":
      return event.hasChannels ? state : IDLE;
    case "fell behind":
      return state.kind === "live" ? behind("lagging", event.cursor) : state;
    case "joined":
      return isBehind(state) ? { kind: "live", member: event.member } : state;
    case "replaced":
      return behind("backfilling", event.cursor);
  }
}

export function isBehind(state: SubscriberState): state is Behind {
  return state.kind === "backfilling" || state.kind === "lagging";
}

function behind(kind: Behind["kind"], cursor: number): Behind {
  return { kind, cursor, tasks: [], announce: new Set() };
}
