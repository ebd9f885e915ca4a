import { ReplyCode } from "../../contract/codes.ts";
import type { DashboardEvent, ServerMessage, Since, UnrecoverableReason } from "../../contract/socket-messages.ts";
import { callListener, type ProblemReporter } from "./problems.ts";

/** A range of events that the application did not receive. */
export interface ReportedGap {
  channel: string;
  /** `interrupted`: the connection ended before the first snapshot was complete, so there was no cursor. */
  reason: UnrecoverableReason | "interrupted";
  /** The last position before the gap, possibly of an earlier epoch. */
  after: number;
  before: number;
  /** When the gap was detected, milliseconds since 1970. */
  at: number;
}

export type SubscriptionState =
  | { status: "waiting" }
  /** The state of the channel is arriving. */
  | { status: "snapshot" }
  /** The missed events are arriving. */
  | { status: "catching_up" }
  | { status: "live" }
  /** The client subscribes again after a token renewal and after a reconnect. */
  | { status: "refused"; code: number; error: string }
  | { status: "ended" };

export interface SubscriptionListener {
  /** Called once for every event, in the order of positions. The events of a snapshot (`snapshot: true`) arrive first. */
  onEvent: (event: DashboardEvent) => void;
  /** `started`: the events of a snapshot follow. `completed`: state that was not in the snapshot no longer exists. */
  onSnapshot?: (moment: "started" | "completed") => void;
  onGap?: (gap: ReportedGap) => void;
  onState?: (state: SubscriptionState) => void;
  /** This client reads too slowly. The server will send the events later, and only the newest value of each state. */
  onLagging?: () => void;
}

type Result = Extract<ServerMessage, { type: "subscription_result" }>;

const TEMPORARY: ReadonlySet<number> = new Set([
  ReplyCode.internal,
  ReplyCode.limit,
  ReplyCode.rateLimited,
  ReplyCode.storeUnavailable,
]);

/**
 * ```
 *            with a cursor, and all later events are kept
 *  waiting ────────────────────────────────────────▶ catching_up ── caught_up, or past the target ──▶ live
 *   ▲ ▲ │                                                 ▲                                            ▲ │
 *   │ │ │                                                 │ events that are kept after a gap           │ │
 *   │ │ └── no cursor, or not recovered ─────▶ snapshot ──┴── caught_up, a live event, or a ping ──────┘ │
 *   │ │                                           ▲────────────────────── not recovered, unsolicited ────┘
 *   │ └──── connection lost, in any state
 *   └────── refused ◀── the server refused
 * ```
 *
 * `delivered` is the highest position that the application has received. `cursor` is the position to resume from. The
 * cursor also advances with `caught_up` and with pings, so that the cursor of a quiet channel does not fall behind the
 * server's retention. There is no cursor before the snapshot is complete, because nobody can resume from incomplete state.
 */
export class Subscription {
  readonly channel: string;
  readonly #listener: SubscriptionListener;
  readonly #report: ProblemReporter;
  #state: SubscriptionState = { status: "waiting" };
  #epoch: string | undefined;
  #cursor: number | undefined;
  #delivered = -1;
  /**
   * The subscription becomes live with the first event after this position. Infinity: it becomes live with `caught_up`.
   */
  #target = 0;
  #requested: Since | undefined;
  /** Whether events that the server kept after a gap follow the snapshot. */
  #hasEventsAfterGap = false;
  #snapshotAt: Since | undefined;

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

  /** Where to resume. Undefined until the first snapshot is complete. */
  get cursor(): Since | undefined {
    return this.#epoch === undefined || this.#cursor === undefined
      ? undefined
      : { epoch: this.#epoch, position: this.#cursor };
  }

  /** @returns the cursor for the `subscribe` request that is sent now */
  request(): Since | undefined {
    this.#set({ status: "waiting" });
    this.#requested = this.cursor;
    return this.#requested;
  }

  disconnected(): void {
    this.#set({ status: "waiting" });
  }

  end(): void {
    this.#set({ status: "ended" });
  }

  /** The server also sends an answer without a request, if a slow client has fallen behind the server's retention. */
  answered(result: Result): "accepted" | "refused" | "try_again" {
    if (!result.success) return this.refuse(result.code ?? ReplyCode.internal, result.error ?? "refused");
    const { epoch, position } = result;
    if (epoch === undefined || position === undefined) {
      // A server without a journal sends only live events, without a cursor.
      this.#epoch = undefined;
      this.#cursor = undefined;
      this.#delivered = -1;
      this.#target = 0;
      this.#set({ status: "snapshot" });
      callListener(this.#report, this.#listener.onSnapshot, "started");
      return "accepted";
    }
    this.#target = position;
    if (this.#requested !== undefined && result.recovered === true && epoch === this.#requested.epoch) {
      this.#set({ status: "catching_up" });
      return "accepted";
    }
    const before = this.cursor ?? this.#snapshotAt;
    this.#epoch = epoch;
    this.#cursor = undefined;
    const at = { epoch, position };
    this.#snapshotAt = at;
    this.#delivered = position;
    this.#hasEventsAfterGap = result.recovered === false;
    this.#set({ status: "snapshot" });
    const gap = this.#gapSince(before, result, at);
    if (gap !== undefined) callListener(this.#report, this.#listener.onGap, gap);
    callListener(this.#report, this.#listener.onSnapshot, "started");
    return "accepted";
  }

  refuse(code: number, error: string): "refused" | "try_again" {
    this.#set({ status: "refused", code, error });
    return TEMPORARY.has(code) ? "try_again" : "refused";
  }

  event(event: DashboardEvent): void {
    const { status } = this.#state;
    // An event of an earlier subscription on this socket.
    if (status === "waiting" || status === "refused" || status === "ended") return;
    // State has no position in the order of events, and may be delivered again.
    if (event.snapshot === true) callListener(this.#report, this.#listener.onEvent, event);
    else {
      if (status === "snapshot") this.#snapshotCompleted();
      else if (status === "catching_up" && event.position > this.#target) this.#set({ status: "live" });
      this.#deliver(event);
    }
  }

  caughtUp(position: number): void {
    if (this.#state.status === "snapshot") this.#snapshotCompleted();
    if (this.#state.status === "catching_up") this.#set({ status: "live" });
    if (this.#state.status === "live") this.#advance(position);
  }

  /** A ping: everything up to `position` has been sent. */
  pinged(position: number): void {
    if (this.#state.status === "snapshot" && this.#snapshotAt !== undefined && position >= this.#snapshotAt.position)
      this.#snapshotCompleted();
    if (this.#state.status === "catching_up" && position >= this.#target) this.#set({ status: "live" });
    if (this.#state.status === "live") this.#advance(position);
  }

  lagging(): void {
    callListener(this.#report, this.#listener.onLagging);
  }

  #deliver(event: DashboardEvent): void {
    // Without an epoch the server has no journal, and positions mean nothing.
    if (this.#epoch !== undefined) {
      if (event.position <= this.#delivered) return;
      if (this.#cursor !== undefined && event.position <= this.#cursor)
        this.#report({
          kind: "order",
          message: `${this.channel}: event ${event.position} arrived after the server had sent everything up to ${this.#cursor}`,
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
    this.#cursor = this.#snapshotAt?.position;
    this.#snapshotAt = undefined;
    // Called before the status becomes live, so that a listener of the status finds the application's state complete.
    callListener(this.#report, this.#listener.onSnapshot, "completed");
    if (this.#hasEventsAfterGap) this.#target = Number.POSITIVE_INFINITY;
    this.#hasEventsAfterGap = false;
    this.#set({ status: this.#target === Number.POSITIVE_INFINITY ? "catching_up" : "live" });
  }

  #gapSince(before: Since | undefined, { gap, reason }: Result, at: Since): ReportedGap | undefined {
    if (before === undefined) return undefined;
    const same = before.epoch === at.epoch;
    if (same && before.position === at.position) return undefined;
    return {
      channel: this.channel,
      reason: reason ?? (same ? "interrupted" : "epoch_changed"),
      after: gap?.after ?? before.position,
      // The gap reaches at least to the position of the answer, because no event up to that position is delivered.
      before: Math.max(gap?.before ?? 0, at.position + 1),
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
