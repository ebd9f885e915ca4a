import type { Since } from "../../contract/socket-messages.ts";
import type { ChannelSubscription, Client } from "../client/client.ts";
import { callListener, type ProblemReporter } from "../client/problems.ts";
import type { SubscriptionListener, SubscriptionState } from "../client/subscription.ts";
import type { FromLeader, ListenerCall } from "./messages.ts";

interface TabSubscriptionOptions {
  channel: string;
  listener: SubscriptionListener;
  since: Since | undefined;
  join: (since: Since | undefined) => void;
  report: ProblemReporter;
}

/**
 * A subscription of one tab.
 * ```
 *               joined                          another tab leads
 *  joining ───────────────▶ attached ──────────────────────────────▶ joining
 *     │                        ▲
 *     │ uncovered              │ joined
 *     ▼                        │
 *   own: a connection of this tab catches up, or gets the snapshot. It joins once it is live, and whenever it is asked.
 * ```
 * `cursor` drops what arrives twice: the leader's recent events, and the events of a new leader that was behind.
 */
export class TabSubscription {
  readonly #options: TabSubscriptionOptions;
  #phase: "joining" | "attached" | "own" | "ended" = "joining";
  /** The number of the last call. */
  #calls = 0;
  #own: ChannelSubscription | undefined;
  #state: SubscriptionState = { status: "waiting" };
  #cursor: Since | undefined;

  constructor(options: TabSubscriptionOptions) {
    this.#options = options;
    this.#cursor = options.since;
  }

  get state(): SubscriptionState {
    return this.#state;
  }

  get cursor(): Since | undefined {
    return this.#cursor;
  }

  get hasOwn(): boolean {
    return this.#phase === "own";
  }

  /** Another tab leads, or this tab is asked to try again. */
  join(): void {
    if (this.#phase === "own" && this.#state.status !== "live") return;
    if (this.#phase === "attached") {
      this.#phase = "joining";
      this.#apply({ kind: "state", state: { status: "waiting" } }, this.#cursor);
    }
    if (this.#phase !== "ended") this.#options.join(this.#cursor);
  }

  /** @param client a connection of this tab */
  uncovered(client: () => Client): void {
    if (this.#phase !== "joining") return;
    this.#phase = "own";
    const call = (listenerCall: ListenerCall): void => {
      if (this.#phase !== "own") return;
      this.#apply(listenerCall, this.#own?.cursor);
      if (listenerCall.kind === "state" && listenerCall.state.status === "live") this.join();
    };
    this.#own = client().subscribe(
      this.#options.channel,
      {
        onEvent: (event) => call({ kind: "event", event }),
        onSnapshot: (moment) => call({ kind: "snapshot", moment }),
        onGap: (gap) => call({ kind: "gap", gap }),
        onState: (state) => call({ kind: "state", state }),
        onLagging: () => call({ kind: "lagging" }),
      },
      { since: this.#cursor },
    );
  }

  joined({ recent, cursor, state, calls }: Extract<FromLeader, { type: "joined" }>): void {
    if (this.#phase === "ended") return;
    this.#phase = "attached";
    this.#calls = calls;
    this.#endOwn();
    const epoch = this.#cursor?.epoch ?? "";
    for (const event of recent) this.#apply({ kind: "event", event }, { epoch, position: event.position });
    this.#apply({ kind: "state", state }, cursor ?? this.#cursor);
  }

  called({ call, cursor, number }: Extract<FromLeader, { type: "call" }>): void {
    if (this.#phase !== "attached") return;
    // A tab that the browser froze may have missed calls.
    if (number !== this.#calls + 1) this.join();
    else {
      this.#calls = number;
      this.#apply(call, cursor);
    }
  }

  end(): void {
    if (this.#phase === "ended") return;
    this.#phase = "ended";
    this.#endOwn();
    this.#apply({ kind: "state", state: { status: "ended" } }, this.#cursor);
  }

  #endOwn(): void {
    this.#own?.unsubscribe();
    this.#own = undefined;
  }

  /** @param cursor after the call */
  #apply(call: ListenerCall, cursor: Since | undefined): void {
    const { listener, report } = this.#options;
    const before = this.#cursor;
    const isSameEpoch = before !== undefined && before.epoch === cursor?.epoch;
    if (call.kind === "event" && call.event.snapshot !== true && isSameEpoch && call.event.position <= before.position)
      return;
    if (!isSameEpoch || cursor.position > before.position) this.#cursor = cursor;
    switch (call.kind) {
      case "event":
        callListener(report, listener.onEvent, call.event);
        break;
      case "snapshot":
        callListener(report, listener.onSnapshot, call.moment);
        break;
      case "gap":
        callListener(report, listener.onGap, call.gap);
        break;
      case "state":
        if (call.state.status === this.#state.status && call.state.status !== "refused") return;
        this.#state = call.state;
        callListener(report, listener.onState, call.state);
        break;
      case "lagging":
        callListener(report, listener.onLagging);
        break;
    }
  }
}
