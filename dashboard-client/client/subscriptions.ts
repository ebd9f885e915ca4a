import type { ClientMessageInput, DashboardEvent, ServerMessage, Since } from "../../contract/socket-messages.ts";
import { Backoff, type BackoffOptions } from "./backoff.ts";
import { AlreadySubscribedError, ClientLimitError } from "./errors.ts";
import type { ProblemReporter } from "./problems.ts";
import { Subscription, type SubscriptionListener } from "./subscription.ts";

export interface SubscriptionsSettings {
  /** The timeout for the server's answer to a subscription, milliseconds. Default 10,000. */
  requestTimeoutMs?: number;
  /** The most subscriptions. Default 64. */
  maxSubscriptions?: number;
  backoff?: BackoffOptions;
}

interface SubscriptionsOptions extends SubscriptionsSettings {
  send: (message: ClientMessageInput) => boolean;
  onUnanswered: (reason: string) => void;
  nextId: () => number;
  report: ProblemReporter;
}

interface Entry {
  subscription: Subscription;
  pending: number | undefined;
  timer: ReturnType<typeof setTimeout> | undefined;
  backoff: Backoff;
}

/** The subscriptions of one client. Each connection subscribes to all channels again, from their cursors. */
export class Subscriptions {
  readonly #options: SubscriptionsOptions;
  readonly #entries = new Map<string, Entry>();
  #connected = false;

  constructor(options: SubscriptionsOptions) {
    this.#options = options;
  }

  add(channel: string, listener: SubscriptionListener, since: Since | undefined): Subscription {
    const { maxSubscriptions = 64, report, backoff } = this.#options;
    if (this.#entries.has(channel))
      throw new AlreadySubscribedError(`${channel} has a subscription already: share it, or end it first`);
    if (this.#entries.size >= maxSubscriptions)
      throw new ClientLimitError(
        `There are ${maxSubscriptions} subscriptions already (maxSubscriptions): end one first`,
      );
    const subscription = new Subscription(channel, listener, since, report);
    const entry: Entry = { subscription, pending: undefined, timer: undefined, backoff: new Backoff(backoff) };
    this.#entries.set(channel, entry);
    if (this.#connected) this.#request(entry);
    return subscription;
  }

  remove(subscription: Subscription): void {
    const entry = this.#entries.get(subscription.channel);
    if (entry?.subscription !== subscription) return;
    this.#clear(entry);
    this.#entries.delete(subscription.channel);
    subscription.end();
    const { send, nextId } = this.#options;
    send({ type: "unsubscribe", channel: subscription.channel, id: nextId() });
  }

  connected(): void {
    this.#connected = true;
    for (const entry of this.#entries.values()) this.#request(entry);
  }

  /** The token was renewed, so that a refused channel may be allowed now. */
  renewed(): void {
    for (const entry of this.#entries.values()) {
      if (entry.subscription.state.status === "refused") this.#request(entry);
    }
  }

  disconnected(): void {
    this.#connected = false;
    for (const entry of this.#entries.values()) {
      this.#clear(entry);
      entry.subscription.disconnected();
    }
  }

  end(): void {
    for (const entry of this.#entries.values()) {
      this.#clear(entry);
      entry.subscription.end();
    }
    this.#entries.clear();
  }

  event(event: DashboardEvent): void {
    if (event.channels === undefined) this.#entries.get(event.channel)?.subscription.event(event);
    else for (const channel of new Set(event.channels)) this.#entries.get(channel)?.subscription.event(event);
  }

  answered(result: Extract<ServerMessage, { type: "subscription_result" }>): void {
    const entry = this.#entries.get(result.channel);
    if (entry === undefined) return;
    if (result.id !== undefined && result.id !== entry.pending) return;
    this.#clear(entry);
    this.#settled(entry, entry.subscription.answered(result));
  }

  /** A result without a request id means that the server has withdrawn the channel. */
  unsubscribed(result: Extract<ServerMessage, { type: "unsubscription_result" }>): void {
    const entry = this.#entries.get(result.channel);
    if (entry === undefined || result.id !== undefined) return;
    this.#clear(entry);
    const reason = result.error ?? "the server has withdrawn the channel";
    this.#settled(entry, entry.subscription.refuse(result.code ?? 0, reason));
  }

  /** @returns true if the error answers a `subscribe` request */
  failed(id: number | string, code: number, error: string): boolean {
    const entry = [...this.#entries.values()].find(({ pending }) => pending === id);
    if (entry === undefined) return false;
    this.#clear(entry);
    this.#settled(entry, entry.subscription.refuse(code, error));
    return true;
  }

  caughtUp(channel: string, position: number): void {
    this.#entries.get(channel)?.subscription.caughtUp(position);
  }

  pinged(position: number): void {
    for (const { subscription } of this.#entries.values()) subscription.pinged(position);
  }

  lagging(): void {
    for (const { subscription } of this.#entries.values()) subscription.lagging();
  }

  #request(entry: Entry): void {
    const { send, nextId, requestTimeoutMs = 10_000, onUnanswered } = this.#options;
    this.#clear(entry);
    const { subscription } = entry;
    const since = subscription.request();
    const id = nextId();
    const { channel } = subscription;
    if (!send({ type: "subscribe", channel, id, ...(since === undefined ? {} : { since }) })) return;
    entry.pending = id;
    entry.timer = setTimeout(
      () => onUnanswered(`the server did not answer the subscription to ${channel} within ${requestTimeoutMs} ms`),
      requestTimeoutMs,
    );
  }

  #settled(entry: Entry, outcome: "accepted" | "refused" | "try_again"): void {
    if (outcome === "accepted") entry.backoff = new Backoff(this.#options.backoff);
    if (outcome !== "try_again") return;
    entry.timer = setTimeout(() => this.#request(entry), entry.backoff.failed());
  }

  #clear(entry: Entry): void {
    clearTimeout(entry.timer);
    entry.timer = undefined;
    entry.pending = undefined;
  }
}
