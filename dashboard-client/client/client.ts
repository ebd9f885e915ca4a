import type { ServerMessage, Since } from "../../contract/socket-messages.ts";
import type { BackoffOptions } from "./backoff.ts";
import { type CommandOptions, type CommandResult, Commands } from "./commands.ts";
import { Connection } from "./connection.ts";
import type { ConnectionState } from "./connection-state.ts";
import { ClientClosedError, NoWebSocketError } from "./errors.ts";
import { Listeners } from "./listeners.ts";
import { browserSignals, type PageSignals, watchPage } from "./page-signals.ts";
import { type ProblemReporter, reportOnConsole } from "./problems.ts";
import type { SocketConstructor } from "./socket.ts";
import type { SubscriptionListener, SubscriptionState } from "./subscription.ts";
import { Subscriptions } from "./subscriptions.ts";

export interface ClientOptions {
  /** Such as `wss://example.org/ws`. */
  url: string;
  /**
   * Returns a fresh token. Called before the first connection, before a token at hand runs out, and after a close that
   * asks for a new one; never more often. Throw {@link TokenRefusedError} when asking again would be refused again;
   * any other error counts as a lost link and is tried again.
   */
  getToken: () => string | Promise<string>;
  /** Default: the environment's own. */
  WebSocket?: SocketConstructor;
  /** Waits between attempts. */
  backoff?: BackoffOptions;
  /** Until the socket is open, milliseconds. Default 10,000. */
  connectTimeoutMs?: number;
  /** Until the token is accepted, milliseconds. Default 10,000. */
  authTimeoutMs?: number;
  /** Until `getToken` answers, milliseconds. Default 15,000. */
  tokenTimeoutMs?: number;
  /** Until a subscription is answered, milliseconds. Default 10,000. */
  requestTimeoutMs?: number;
  /** Silence of the server beyond two of its ping intervals before the link counts as dead, milliseconds. Default 5,000. */
  heartbeatGraceMs?: number;
  /** Between two measurements of the latency, milliseconds. Default 15,000; 0: none. */
  latencyIntervalMs?: number;
  /** Beyond a command's `expiresIn`, until its outcome counts as unknown, milliseconds. Default 60,000. */
  commandGraceMs?: number;
  /** Default 32. */
  maxPendingCommands?: number;
  /** Default 64. */
  maxSubscriptions?: number;
  /** What went wrong without ending anything. Default: a warning on the console. */
  onProblem?: ProblemReporter;
  /** Tells of the network and of the page being looked at. Default: the browser's, where there is one. */
  page?: PageSignals;
}

/** One channel's events, over as many connections as it takes. */
export interface ChannelSubscription {
  readonly channel: string;
  readonly state: SubscriptionState;
  /** Where to resume: keep it together with what its events made, and give it to `subscribe` after a reload. */
  readonly cursor: Since | undefined;
  unsubscribe(): void;
}

/**
 * A client of the dashboard protocol. It connects by itself as often as needed, resumes every channel where it was,
 * and gives each event to the application once and in order, or reports a gap.
 */
export interface Client {
  readonly state: ConnectionState;
  /** When the server was last heard, milliseconds since 1970; undefined before the first time. */
  readonly heardAt: number | undefined;
  /** Of the latest measurement, milliseconds. */
  readonly latencyMs: number | undefined;
  /** Connects; while waiting for the next attempt, tries at once. Throws {@link ClientClosedError} after `close`. */
  connect(): void;
  /** Ends everything, for good. Idempotent. */
  close(): void;
  onState(listener: (state: ConnectionState) => void): () => void;
  onLatency(listener: (latencyMs: number) => void): () => void;
  /**
   * @param options.since resume after this place; leave it out to get the channel's state first
   * @throws {AlreadySubscribedError} the channel has a subscription
   * @throws {ClientLimitError} more than `maxSubscriptions`
   */
  subscribe(
    channel: string,
    listener: SubscriptionListener,
    options?: { since?: Since | undefined },
  ): ChannelSubscription;
  /**
   * Gives a camera a command. Resolves with what came of it, good or bad. Nothing is kept for a later connection.
   * Rejects with {@link NotConnectedError}, {@link ClientLimitError}, {@link RequestRefusedError}, or
   * {@link OutcomeUnknownError} when the link was lost in between.
   */
  command(
    camera: string,
    name: string,
    args?: Record<string, unknown>,
    options?: CommandOptions,
  ): Promise<CommandResult>;
}

export function createClient(options: ClientOptions): Client {
  const report = options.onProblem ?? reportOnConsole;
  const states = new Listeners<ConnectionState>(report);
  const latencies = new Listeners<number>(report);
  const backoff = options.backoff ?? {};
  let latencyMs: number | undefined;
  let lastId = 0;
  const nextId = (): number => ++lastId;

  const connection = new Connection({
    url: options.url,
    getToken: options.getToken,
    WebSocket: options.WebSocket ?? environmentSocket(),
    connectTimeoutMs: options.connectTimeoutMs ?? 10_000,
    authTimeoutMs: options.authTimeoutMs ?? 10_000,
    tokenTimeoutMs: options.tokenTimeoutMs ?? 15_000,
    heartbeatGraceMs: options.heartbeatGraceMs ?? 5_000,
    latencyIntervalMs: options.latencyIntervalMs ?? 15_000,
    nextId,
    backoff,
    onState: (state, before) => {
      const was = before.status === "connected";
      const is = state.status === "connected";
      if (was && !is) {
        latencyMs = undefined;
        subscriptions.disconnected();
        commands.disconnected();
      }
      if (is && was) subscriptions.renewed();
      if (is && !was) subscriptions.connected();
      states.call(state);
    },
    onMessage: (message) => route(message),
    onLatency: (measuredMs) => {
      latencyMs = measuredMs;
      latencies.call(measuredMs);
    },
    report,
  });
  const send = connection.send.bind(connection);
  const subscriptions = new Subscriptions({
    send,
    onUnanswered: (reason) => connection.drop(reason),
    nextId,
    requestTimeoutMs: options.requestTimeoutMs ?? 10_000,
    maxSubscriptions: options.maxSubscriptions ?? 64,
    backoff,
    report,
  });
  const commands = new Commands({
    send,
    nextId,
    graceMs: options.commandGraceMs ?? 60_000,
    maxPending: options.maxPendingCommands ?? 32,
    report,
  });
  const stopWatching = watchPage(options.page ?? browserSignals(), {
    onAwake: () => connection.wake(),
    onOffline: () => connection.doubt(),
  });

  function route(message: ServerMessage): void {
    switch (message.type) {
      case "dashboard_event":
        subscriptions.event(message);
        break;
      case "subscription_result":
        subscriptions.answered(message);
        break;
      case "unsubscription_result":
        subscriptions.unsubscribed(message);
        break;
      case "caught_up":
        subscriptions.caughtUp(message.channel, message.position);
        break;
      case "ping":
        if (message.position !== undefined) subscriptions.pinged(message.position);
        break;
      case "lagging":
        subscriptions.lagging();
        break;
      case "command_result":
        commands.reported(message);
        break;
      case "error":
        failed(message);
        break;
    }
  }

  function failed({ id, code, error }: Extract<ServerMessage, { type: "error" }>): void {
    const known = id !== undefined && (commands.failed(id, code, error) || subscriptions.failed(id, code, error));
    if (!known) report({ kind: "request_failed", message: `the server says: ${error} (${code})` });
  }

  let closed = false;
  return {
    get state() {
      return connection.state;
    },
    get heardAt() {
      return connection.heardAt === 0 ? undefined : connection.heardAt;
    },
    get latencyMs() {
      return latencyMs;
    },
    connect: () => connection.connect(),
    close: () => {
      if (closed) return;
      closed = true;
      stopWatching();
      connection.close();
      subscriptions.end();
      states.clear();
      latencies.clear();
    },
    onState: (listener) => states.add(listener),
    onLatency: (listener) => latencies.add(listener),
    subscribe: (channel, listener, { since } = {}) => {
      if (closed) throw new ClientClosedError();
      const subscription = subscriptions.add(channel, listener, since);
      return {
        channel,
        get state() {
          return subscription.state;
        },
        get cursor() {
          return subscription.cursor;
        },
        unsubscribe: () => subscriptions.remove(subscription),
      };
    },
    command: (camera, name, args = {}, commandOptions = {}) => commands.give(camera, name, args, commandOptions),
  };
}

function environmentSocket(): SocketConstructor {
  if (typeof WebSocket === "undefined") throw new NoWebSocketError();
  return WebSocket;
}
