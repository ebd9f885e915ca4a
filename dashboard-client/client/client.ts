import type { ServerMessage, Since } from "../../contract/socket-messages.ts";
import { type CommandOptions, type CommandResult, Commands, type CommandsSettings } from "./commands.ts";
import { Connection, type ConnectionSettings } from "./connection.ts";
import type { ConnectionState } from "./connection-state.ts";
import { ClientClosedError, NoWebSocketError } from "./errors.ts";
import { Listeners } from "./listeners.ts";
import { browserSignals, type PageSignals, watchPage } from "./page-signals.ts";
import { type ProblemReporter, reportOnConsole } from "./problems.ts";
import type { SocketConstructor } from "./socket.ts";
import type { SubscriptionListener, SubscriptionState } from "./subscription.ts";
import { Subscriptions, type SubscriptionsSettings } from "./subscriptions.ts";

export interface ClientOptions extends ConnectionSettings, SubscriptionsSettings, CommandsSettings {
  /** Called for failures that do not end a connection or a subscription. Default: writes a warning to the console. */
  onProblem?: ProblemReporter;
  /** The source of network and visibility changes. Default: the browser, if there is one. */
  page?: PageSignals;
}

/** A subscription to one channel, which survives reconnects. */
export interface ChannelSubscription {
  readonly channel: string;
  readonly state: SubscriptionState;
  /** Where to resume. Store it with the state that the events produced. After a reload, pass it to `subscribe`. */
  readonly cursor: Since | undefined;
  unsubscribe(): void;
}

/**
 * A client of the dashboard protocol. The client reconnects by itself and resumes every channel from the channel's cursor.
 * Each event is delivered once and in order, or a gap is reported.
 */
export interface Client {
  readonly state: ConnectionState;
  /** When the last message of the server arrived, milliseconds since 1970. Undefined before the first message. */
  readonly heardAt: number | undefined;
  /** The latest measured latency, milliseconds. Undefined without a connection. */
  readonly latencyMs: number | undefined;
  /** Connects, without a wait for the next attempt. @throws {ClientClosedError} after `close` */
  connect(): void;
  /** Ends the connection and all subscriptions. The client cannot be used again. Idempotent. */
  close(): void;
  onState(listener: (state: ConnectionState) => void): () => void;
  onLatency(listener: (latencyMs: number) => void): () => void;
  /**
   * @param options.since the cursor to resume from. Default: the state of the channel arrives first.
   * @throws {AlreadySubscribedError} the channel already has a subscription
   * @throws {ClientLimitError} there are already `maxSubscriptions`
   * @throws {ClientClosedError} after `close`
   */
  subscribe(
    channel: string,
    listener: SubscriptionListener,
    options?: { since?: Since | undefined },
  ): ChannelSubscription;
  /**
   * Sends a command to a camera. Resolves to the outcome, success or failure.
   * @throws {NotConnectedError} there is no connection; the command is not queued for the next one
   * @throws {ClientLimitError} `maxPendingCommands` commands are pending
   * @throws {RequestRefusedError} the server refused the command
   * @throws {OutcomeUnknownError} the connection was lost, or the timeout passed, before the outcome arrived
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
  let latencyMs: number | undefined;
  let lastId = 0;
  const nextId = (): number => ++lastId;

  const connection = new Connection({
    ...options,
    WebSocket: options.WebSocket ?? environmentSocket(),
    nextId,
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
  const onUnanswered = connection.drop.bind(connection);
  const subscriptions = new Subscriptions({ ...options, send, onUnanswered, nextId, report });
  const commands = new Commands({ ...options, send, nextId, report });
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
        commands.progressed(message);
        break;
      case "error":
        failed(message);
        break;
    }
  }

  function failed({ id, code, error }: Extract<ServerMessage, { type: "error" }>): void {
    const known = id !== undefined && (commands.failed(id, code, error) || subscriptions.failed(id, code, error));
    if (!known) report({ kind: "request_failed", message: `the server reports: ${error} (${code})` });
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
    command: (camera, name, args = {}, commandOptions = {}) => commands.send(camera, name, args, commandOptions),
  };
}

function environmentSocket(): SocketConstructor {
  if (typeof WebSocket === "undefined") throw new NoWebSocketError();
  return WebSocket;
}
