import { afterClose, CloseCode } from "../../contract/codes.ts";
import type { ClientMessageInput, ServerMessage } from "../../contract/socket-messages.ts";
import { Backoff, type BackoffOptions } from "./backoff.ts";
import { type ConnectionEvent, type ConnectionState, type LossCause, transition } from "./connection-state.ts";
import { ClientClosedError, TokenRefusedError } from "./errors.ts";
import { readFrame } from "./frames.ts";
import { Heartbeat } from "./heartbeat.ts";
import type { ProblemReporter } from "./problems.ts";
import type { Socket, SocketConstructor } from "./socket.ts";
import { TokenKeeper } from "./token-keeper.ts";

/** The code of a connection that ended without a close frame (RFC 6455, section 7.1.5), or that this client dropped. */
const ABNORMAL = 1006;
const NORMAL = 1000;

export interface ConnectionSettings {
  /** The address of the server, such as `wss://example.org/ws`. */
  url: string;
  /**
   * Returns a new token. Called only before the first connection, before the current token expires, and after a close
   * code that asks for a new token. Throw {@link TokenRefusedError} if another call would be refused as well. After any
   * other error the client retries.
   */
  getToken: () => string | Promise<string>;
  /** Default: the `WebSocket` of the environment. */
  WebSocket?: SocketConstructor;
  /** The waits between attempts to connect, and between attempts to subscribe. */
  backoff?: BackoffOptions;
  /** The timeout for opening the socket, milliseconds. Default 10,000. */
  connectTimeoutMs?: number;
  /** The timeout for the server's answer to the token, milliseconds. Default 10,000. */
  authTimeoutMs?: number;
  /** The timeout for `getToken`, milliseconds. Default 15,000. */
  tokenTimeoutMs?: number;
  /**
   * A connection is dropped after a silence of two ping intervals of the server plus this many milliseconds. Default
   * 5,000.
   */
  heartbeatGraceMs?: number;
  /** Milliseconds between two measurements of the latency. 0 disables the measurements. Default 15,000. */
  latencyIntervalMs?: number;
}

interface ConnectionOptions extends ConnectionSettings {
  WebSocket: SocketConstructor;
  nextId: () => number;
  onState: (state: ConnectionState, before: ConnectionState) => void;
  /** Called for every message except `auth_*`, `token_expiring` and `pong`. */
  onMessage: (message: ServerMessage) => void;
  onLatency: (latencyMs: number) => void;
  report: ProblemReporter;
}

/**
 * One authenticated WebSocket, which is reconnected after a loss. `afterClose` in the contract says what each close code
 * causes. In addition, a refused token that was accepted before is renewed once, because the token may have expired while
 * the machine was suspended.
 */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #tokens: TokenKeeper;
  readonly #backoff: Backoff;
  readonly #heartbeat: Heartbeat;
  #state: ConnectionState = { status: "disconnected", reason: "new", since: Date.now(), cause: undefined };
  #socket: Socket | undefined;
  /** The wait for the next attempt, the connect timeout, or the auth timeout. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #renewalTimer: ReturnType<typeof setTimeout> | undefined;
  #attempt = 0;
  /** Whether a refused or expired token has been renewed without a wait since the last stable connection. */
  #renewedAtOnce = false;
  /** The unanswered token renewal. `until`: when the old token expires. */
  #renewal: { id: number; until: number } | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#tokens = new TokenKeeper(options.getToken, options.tokenTimeoutMs ?? 15_000);
    this.#backoff = new Backoff(options.backoff);
    this.#heartbeat = new Heartbeat({
      nextId: options.nextId,
      sendPing: (id) => this.send({ type: "ping", id }),
      onDead: (silentMs) => this.drop(`the server was silent for ${Math.round(silentMs / 1000)} s`),
      onLatency: options.onLatency,
      latencyIntervalMs: options.latencyIntervalMs ?? 15_000,
      graceMs: options.heartbeatGraceMs ?? 5_000,
    });
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get heardAt(): number {
    return this.#heartbeat.heardAt;
  }

  connect(): void {
    if (this.#state.status === "disconnected" && this.#state.reason === "closed") throw new ClientClosedError();
    this.#dispatch({ type: this.#state.status === "disconnected" ? "start" : "attempt" });
  }

  close(): void {
    this.#leaveSocket("close");
    this.#dispatch({ type: "close" });
  }

  /** @returns false without a connection: the message is neither sent nor queued */
  send(message: ClientMessageInput): boolean {
    if (this.#state.status !== "connected" || this.#socket === undefined) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /** Drops the current socket, and reconnects after a wait. Without a socket, does nothing. */
  drop(reason: string): void {
    if (this.#socket !== undefined) this.#lose({ code: ABNORMAL, reason });
  }

  wake(): void {
    if (this.#state.status === "connected") this.#heartbeat.probe();
    else if (this.#state.status === "connecting" && this.#state.phase === "waiting") this.connect();
  }

  doubt(): void {
    if (this.#state.status === "connected") this.#heartbeat.probe();
  }

  #dispatch(event: ConnectionEvent): void {
    const before = this.#state;
    const state = transition(before, event, Date.now());
    if (state === before) return;
    this.#state = state;
    if (state.status === "connecting" && state.phase === "waiting") {
      this.#arm(Math.max(0, (state.retryAt ?? 0) - Date.now()), () => this.#dispatch({ type: "attempt" }));
    }
    this.#options.onState(state, before);
    // If a listener has changed the state during `onState`, that change has already begun its own attempt.
    if (state === this.#state && state.status === "connecting" && state.phase === "token") this.#begin();
  }

  #begin(): void {
    const attempt = ++this.#attempt;
    clearTimeout(this.#timer);
    this.#tokens.current().then(
      (token) => {
        if (attempt === this.#attempt) this.#open(token);
      },
      (error: unknown) => {
        if (attempt === this.#attempt) this.#tokenFailed(error);
      },
    );
  }

  #open(token: string): void {
    const { url, connectTimeoutMs = 10_000, authTimeoutMs = 10_000, WebSocket } = this.#options;
    this.#dispatch({ type: "token" });
    let socket: Socket;
    try {
      socket = new WebSocket(url);
    } catch (error) {
      // The URL is invalid, for example: a retry would fail as well.
      this.#lose({ code: CloseCode.protocolError, reason: messageOf(error) });
      return;
    }
    this.#socket = socket;
    const isCurrent = (): boolean => this.#socket === socket;
    this.#arm(connectTimeoutMs, () => this.drop(`no connection within ${connectTimeoutMs} ms`));
    socket.addEventListener("open", () => {
      if (!isCurrent()) return;
      this.#arm(authTimeoutMs, () => this.drop(`the server did not answer the token within ${authTimeoutMs} ms`));
      this.#dispatch({ type: "open" });
      socket.send(JSON.stringify({ type: "auth", token } satisfies ClientMessageInput));
    });
    socket.addEventListener("message", (event) => {
      if (isCurrent()) this.#read(event.data);
    });
    // The `close` event always follows.
    socket.addEventListener("error", () => {});
    socket.addEventListener("close", ({ code, reason }) => {
      if (isCurrent()) this.#lose({ code, reason: reason || "the connection was lost" });
    });
  }

  #read(data: unknown): void {
    this.#heartbeat.heard();
    const frame = readFrame(data);
    if (frame.ok) this.#handle(frame.message);
    else this.#options.report({ kind: "bad_frame", message: frame.problem });
  }

  #handle(message: ServerMessage): void {
    switch (message.type) {
      case "auth_success":
        this.#authenticated(message);
        break;
      case "auth_error":
        this.#lose({ code: message.code, reason: message.error });
        break;
      case "token_expiring":
        this.#renewToken(Date.now() + message.expires_in * 1000);
        break;
      case "pong":
        this.#heartbeat.pong(message.id);
        break;
      case "ping":
        this.send({ type: "pong" });
        this.#options.onMessage(message);
        break;
      case "error":
        if (this.#renewal !== undefined && message.id === this.#renewal.id) this.#renewalFailed(message.error);
        else this.#options.onMessage(message);
        break;
      default:
        this.#options.onMessage(message);
    }
  }

  #authenticated(message: Extract<ServerMessage, { type: "auth_success" }>): void {
    const renewal = this.#state.status === "connected";
    clearTimeout(this.#timer);
    this.#renewal = undefined;
    const { expires_in: expiresIn = Number.POSITIVE_INFINITY } = message;
    const tokenExpiresAt = Date.now() + expiresIn * 1000;
    this.#tokens.accepted(tokenExpiresAt);
    const { connection_id: connectionId, user_id: userId, permissions } = message;
    this.#dispatch({ type: "authenticated", session: { connectionId, userId, permissions, tokenExpiresAt } });
    if (!renewal && this.#state.status === "connected") this.#heartbeat.start(message.ping_interval * 1000);
  }

  /** Sends a new token on the same socket. @param until when the old token expires, milliseconds since 1970 */
  #renewToken(until: number): void {
    clearTimeout(this.#renewalTimer);
    const attempt = this.#attempt;
    const isCurrent = (): boolean => attempt === this.#attempt && this.#state.status === "connected";
    const id = this.#options.nextId();
    this.#renewal = { id, until };
    this.#tokens.renewed().then(
      (token) => {
        if (isCurrent()) this.send({ type: "auth", token, id });
      },
      (error: unknown) => {
        if (isCurrent()) this.#renewalFailed(error);
      },
    );
  }

  /** Retries until the old token expires. After that, the server closes the connection. */
  #renewalFailed(error: unknown): void {
    const { until } = this.#renewal ?? { until: 0 };
    this.#renewal = undefined;
    const message = "the token of this connection could not be renewed";
    this.#options.report({ kind: "token", message, detail: error });
    if (error instanceof TokenRefusedError || Date.now() > until) return;
    this.#renewalTimer = setTimeout(() => this.#renewToken(until), new Backoff(this.#options.backoff).failed());
  }

  #tokenFailed(error: unknown): void {
    const refused = error instanceof TokenRefusedError;
    this.#lose({ code: refused ? CloseCode.authInvalid : ABNORMAL, reason: messageOf(error) });
  }

  #lose(cause: LossCause): void {
    if (this.#state.status === "connected") {
      this.#backoff.lasted(Date.now() - this.#state.since);
      if (this.#backoff.failures === 0) this.#renewedAtOnce = false;
    }
    const mustRenew = cause.code === CloseCode.authInvalid && this.#tokens.proven;
    const next = mustRenew ? "renew" : afterClose(cause.code);
    this.#leaveSocket("lose");
    if (next !== "retry") this.#tokens.forget();
    // Only once, because a server may report every token as expired.
    const atOnce = next === "renew" && !this.#renewedAtOnce;
    if (atOnce) this.#renewedAtOnce = true;
    const retryAt = next === "stop" ? undefined : Date.now() + (atOnce ? 0 : this.#backoff.failed());
    this.#dispatch({ type: "lost", cause, retryAt });
  }

  /** Ends the socket, and ignores its further events. */
  #leaveSocket(how: "close" | "lose"): void {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#attempt++;
    clearTimeout(this.#timer);
    clearTimeout(this.#renewalTimer);
    this.#renewal = undefined;
    this.#heartbeat.stop();
    if (socket === undefined) return;
    // `ws` waits up to 30 seconds for the close frame of a server that may be unreachable.
    if (how === "lose" && socket.terminate !== undefined) socket.terminate();
    else socket.close(NORMAL, "");
  }

  #arm(delayMs: number, then: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, delayMs);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
