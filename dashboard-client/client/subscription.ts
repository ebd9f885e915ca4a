import { ReplyCode } from "../../contract/codes.ts";
import type { DashboardEvent, ServerMessage, Since, UnrecoverableReason } from "../../contract/socket-messages.ts";
import { callListener, type ProblemReporter } from "./problems.ts";

/** Events that may have happened and were not seen. */
export interface ReportedGap {
  channel: string;
  /** `interrupted`: the connection ended before the first snapshot was whole, so there was no place to resume from. */
  reason: UnrecoverableReason | "interrupted";
  /** The last position that was seen; its epoch is the one before, when the epoch changed. */
  after: number;
  /** The first position that can be seen again. */
  before: number;
  /** When the gap was learned of, milliseconds since 1970. */
  at: number;
}

export type SubscriptionState =
  /** No connection, or the request has not been answered. */
  | { status: "waiting" }
  /** The state of the channel arrives. */
  | { status: "snapshot" }
  /** What was missed arrives. */
  | { status: "catching_up" }
  /** Everything arrives as it happens. */
  | { status: "live" }
  /** The server said no. Asked again after a new token, and after the next connect. */
  | { status: "refused"; code: number; error: string }
  | { status: "ended" };

export interface SubscriptionListener {
  /** Every event once, in order of position; those of a snapshot carry `snapshot: true` and come before. */
  onEvent: (event: DashboardEvent) => void;
  /**
   * `started`: the events of a snapshot follow. `completed`: what state was held before and was not in the snapshot is
   * no longer so.
   */
  onSnapshot?: (moment: "started" | "completed") => void;
  onGap?: (gap: ReportedGap) => void;
  onState?: (state: SubscriptionState) => void;
  /** This client reads too slowly; events are kept for it and follow, of state the newest. */
  onLagging?: () => void;
}

type Result = Extract<ServerMessage, { type: "subscription_result" }>;

/** Refusals that may pass by themselves. */
const PASSING: ReadonlySet<number> = new Set([
  ReplyCode.internal,
  ReplyCode.limit,
  ReplyCode.rateLimited,
  ReplyCode.storeUnavailable,
]);

/**
 * One channel: where this client stands in it, and what it is told.
 *
 * ```
 *            since a place, and all of it is there
 *  waiting ────────────────────────────────────────▶ catching_up ── caught_up, or past the target ──▶ live
 *   ▲ ▲ │                                                 ▲                                            ▲ │
 *   │ │ │                                                 │ what was kept behind a gap                 │ │
 *   │ │ └── from nothing, or not recovered ──▶ snapshot ──┴── caught_up, a live event, or a ping ──────┘ │
 *   │ │                                           ▲────────────────────── not recovered, unasked ────────┘
 *   │ └──── connection lost, from anywhere
 *   └────── refused ◀── the server said no
 * ```
 *
 * Two places are kept. `delivered` is the highest position given to the application: nothing at or below it is given
 * again. `cursor` is where to resume: it also moves with `caught_up` and pings, so that a quiet channel never falls
 * out of what the server keeps. While a snapshot is not whole there is no cursor: half a state is not resumed from.
 */
export class Subscription {
  readonly channel: string;
  readonly #listener: SubscriptionListener;
  readonly #report: ProblemReporter;
  #state: SubscriptionState = { status: "waiting" };
  #epoch: string | undefined;
  #cursor: number | undefined;
  #delivered = -1;
  /** The server's newest position when it answered: beyond it, everything is new. Infinite where `caught_up` must say so. */
  #target = 0;
  #asked: Since | undefined;
  #behindGap = false;
  /** What the application has seen of the channel, when there is no cursor to resume from. */
  #seen: Since | undefined;

  constructor(channel: string, listener: SubscriptionListener, since: Since | undefined, report: ProblemReporter) {
    this.channel = channel;
    this.#listener = listener;
    this.#report = report;
    if (since !== undefined) {
      this.#epoch = since.epoch;
      this.#cursor = since.position;
      this.#delivered = since.position;
    }
  }

  get state(): SubscriptionState {
    return this.#state;
  }

  /** Where to resume. Undefined until the first snapshot is whole. Belongs to what the listener has been told so far. */
  get cursor(): Since | undefined {
    return this.#epoch === undefined || this.#cursor === undefined
      ? undefined
      : { epoch: this.#epoch, position: this.#cursor };
  }

  /** The place to name in a request that is about to be sent. */
  ask(): Since | undefined {
    this.#set({ status: "waiting" });
    this.#asked = this.cursor;
    return this.#asked;
  }

  disconnected(): void {
    this.#set({ status: "waiting" });
  }

  end(): void {
    this.#set({ status: "ended" });
  }

  /** The server's answer. It may also come unasked, when a slow client has fallen out of what the server keeps. */
  answered(result: Result): "accepted" | "refused" | "try_again" {
    if (!result.success) return this.refuse(result.code ?? ReplyCode.internal, result.error ?? "refused");
    const { epoch, position } = result;
    if (epoch === undefined || position === undefined) {
      // A server without a journal: live events only, and no place to resume from.
      this.#epoch = undefined;
      this.#cursor = undefined;
      this.#delivered = -1;
      this.#target = 0;
      this.#set({ status: "snapshot" });
      callListener(this.#report, this.#listener.onSnapshot, "started");
      return "accepted";
    }
    this.#target = position;
    if (this.#asked !== undefined && result.recovered === true && epoch === this.#asked.epoch) {
      this.#set({ status: "catching_up" });
      return "accepted";
    }
    const before = this.cursor ?? this.#seen;
    this.#epoch = epoch;
    this.#cursor = undefined;
    this.#seen = { epoch, position };
    this.#delivered = position;
    // What the server kept behind the gap follows the snapshot, and `caught_up` follows that.
    this.#behindGap = result.recovered === false;
    this.#set({ status: "snapshot" });
    const gap = this.#gapSince(before, result, position, epoch);
    if (gap !== undefined) callListener(this.#report, this.#listener.onGap, gap);
    callListener(this.#report, this.#listener.onSnapshot, "started");
    return "accepted";
  }

  refuse(code: number, error: string): "refused" | "try_again" {
    this.#set({ status: "refused", code, error });
    return PASSING.has(code) ? "try_again" : "refused";
  }

  event(event: DashboardEvent): void {
    const { status } = this.#state;
    // Left over from an earlier subscription of this socket; what is due comes after the answer.
    if (status === "waiting" || status === "refused" || status === "ended") return;
    // State, not something that happens: it takes no place in the order and may be told again.
    if (event.snapshot === true) {
      callListener(this.#report, this.#listener.onEvent, event);
      return;
    }
    if (this.#state.status === "snapshot") this.#snapshotCompleted();
    else if (this.#state.status === "catching_up" && event.position > this.#target) this.#set({ status: "live" });
    this.#deliver(event);
  }

  caughtUp(position: number): void {
    if (this.#state.status === "snapshot") this.#snapshotCompleted();
    if (this.#state.status === "catching_up") this.#set({ status: "live" });
    if (this.#state.status === "live") this.#advance(position);
  }

  /** A ping: everything up to `position` has been sent. */
  pinged(position: number): void {
    if (this.#state.status === "snapshot" && this.#seen !== undefined && position >= this.#seen.position)
      this.#snapshotCompleted();
    if (this.#state.status === "catching_up" && position >= this.#target) this.#set({ status: "live" });
    if (this.#state.status === "live") this.#advance(position);
  }

  lagging(): void {
    callListener(this.#report, this.#listener.onLagging);
  }

  #deliver(event: DashboardEvent): void {
    // The epoch is unknown where the server has no journal; there positions mean nothing.
    if (this.#epoch !== undefined) {
      if (event.position <= this.#delivered) return;
      if (this.#cursor !== undefined && event.position <= this.#cursor)
        this.#report({
          kind: "order",
          message: `${this.channel}: event ${event.position} came after the server had said that all up to ${this.#cursor} was sent`,
        });
      this.#delivered = event.position;
      this.#advance(event.position);
    }
    callListener(this.#report, this.#listener.onEvent, event);
  }

  #advance(position: number): void {
    if (this.#cursor !== undefined && position > this.#cursor) this.#cursor = position;
  }

  #snapshotCompleted(): void {
    this.#cursor = this.#seen?.position;
    this.#seen = undefined;
    // The application first: to whoever hears that the channel is live, the state is whole.
    callListener(this.#report, this.#listener.onSnapshot, "completed");
    if (this.#behindGap) this.#target = Number.POSITIVE_INFINITY;
    this.#behindGap = false;
    this.#set({ status: this.#target === Number.POSITIVE_INFINITY ? "catching_up" : "live" });
  }

  #gapSince(
    before: Since | undefined,
    { gap, reason }: Result,
    position: number,
    epoch: string,
  ): ReportedGap | undefined {
    if (before === undefined) return undefined;
    const same = before.epoch === epoch;
    if (same && before.position === position) return undefined;
    return {
      channel: this.channel,
      reason: reason ?? (same ? "interrupted" : "epoch_changed"),
      after: gap?.after ?? before.position,
      // Nothing at or below the position of the answer is told, whatever else the server says.
      before: Math.max(gap?.before ?? 0, position + 1),
      at: Date.now(),
    };
  }

  #set(state: SubscriptionState): void {
    if (state.status === this.#state.status && state.status !== "refused") return;
    if (this.#state.status === "ended") return;
    this.#state = state;
    callListener(this.#report, this.#listener.onState, state);
  }
}
