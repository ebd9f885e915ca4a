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

/** The close code of a link that ended without a close frame (RFC 6455 section 7.1.5); here also of one given up. */
const ABNORMAL = 1006;
const NORMAL = 1000;

export interface ConnectionOptions {
  url: string;
  getToken: () => string | Promise<string>;
  WebSocket: SocketConstructor;
  connectTimeoutMs: number;
  authTimeoutMs: number;
  tokenTimeoutMs: number;
  heartbeatGraceMs: number;
  latencyIntervalMs: number;
  nextId: () => number;
  backoff: BackoffOptions;
  onState: (state: ConnectionState, before: ConnectionState) => void;
  /** Every message but those that are the connection's own: `auth_*`, `token_expiring`, `pong`. */
  onMessage: (message: ServerMessage) => void;
  onLatency: (latencyMs: number) => void;
  report: ProblemReporter;
}

/**
 * One authenticated WebSocket, made again whenever it is lost. What happens after a loss, the close code decides
 * (contract `afterClose`), with one addition: a token that had been accepted before and is now refused is renewed
 * once, for it may have expired while the machine slept.
 */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #tokens: TokenKeeper;
  readonly #backoff: Backoff;
  readonly #heartbeat: Heartbeat;
  #state: ConnectionState = { status: "disconnected", reason: "new", since: Date.now(), cause: undefined };
  #socket: Socket | undefined;
  /** The wait, the connect time-out or the auth time-out: there is never more than one. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #renewalTimer: ReturnType<typeof setTimeout> | undefined;
  #attempt = 0;
  #renewedAtOnce = false;
  /** The renewal of the token that has not been answered, and until when it is of use. */
  #renewal: { id: number; until: number } | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#tokens = new TokenKeeper({ getToken: options.getToken, timeoutMs: options.tokenTimeoutMs });
    this.#backoff = new Backoff(options.backoff);
    this.#heartbeat = new Heartbeat({
      nextId: options.nextId,
      sendPing: (id) => this.send({ type: "ping", id }),
      onDead: (silentMs) => this.drop(`nothing heard from the server for ${Math.round(silentMs / 1000)} s`),
      onLatency: options.onLatency,
      latencyIntervalMs: options.latencyIntervalMs,
      graceMs: options.heartbeatGraceMs,
    });
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** When the server was last heard, milliseconds since 1970; 0 before the first time. */
  get heardAt(): number {
    return this.#heartbeat.heardAt;
  }

  /** Connects, or ends the wait for the next attempt. */
  connect(): void {
    if (this.#state.status === "disconnected" && this.#state.reason === "closed") throw new ClientClosedError();
    this.#dispatch({ type: this.#state.status === "disconnected" ? "start" : "attempt" });
  }

  close(): void {
    this.#leaveSocket("close");
    this.#dispatch({ type: "close" });
  }

  /** Sends when connected; what is given while there is no connection is not kept. */
  send(message: ClientMessageInput): boolean {
    if (this.#state.status !== "connected" || this.#socket === undefined) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /** Gives up the present socket, if any, and connects again after a moment. */
  drop(reason: string): void {
    if (this.#socket !== undefined) this.#lose({ code: ABNORMAL, reason });
  }

  /** The page is looked at again or the network is back: try at once, or see whether the link still lives. */
  wake(): void {
    if (this.#state.status === "connected") this.#heartbeat.probe();
    else if (this.#state.status === "connecting" && this.#state.phase === "waiting") this.connect();
  }

  /** The network is said to be gone: see whether it is. */
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
    // A listener may have closed or retried meanwhile; then the newer state's work has been done already.
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
    const { url, connectTimeoutMs, authTimeoutMs, WebSocket } = this.#options;
    this.#dispatch({ type: "token" });
    let socket: Socket;
    try {
      socket = new WebSocket(url);
    } catch (error) {
      // Such as a URL that is none: trying again would not mend it.
      this.#lose({ code: CloseCode.protocolError, reason: words(error) });
      return;
    }
    this.#socket = socket;
    const isCurrent = (): boolean => this.#socket === socket;
    this.#arm(connectTimeoutMs, () => this.drop(`no connection within ${connectTimeoutMs} ms`));
    socket.addEventListener("open", () => {
      if (!isCurrent()) return;
      this.#arm(authTimeoutMs, () => this.drop(`no answer to the token within ${authTimeoutMs} ms`));
      this.#dispatch({ type: "open" });
      socket.send(JSON.stringify({ type: "auth", token } satisfies ClientMessageInput));
    });
    socket.addEventListener("message", (event) => {
      if (isCurrent()) this.#read(event.data);
    });
    // What went wrong, a `close` says better; it always follows.
    socket.addEventListener("error", () => {});
    socket.addEventListener("close", ({ code, reason }) => {
      if (isCurrent()) this.#lose({ code, reason: reason || "the connection was lost" });
    });
  }

  #read(data: unknown): void {
    this.#heartbeat.heard();
    const frame = readFrame(data);
    if (!frame.ok) {
      this.#options.report({ kind: "bad_frame", message: frame.problem });
      return;
    }
    const { message } = frame;
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
    const tokenExpiresAt = Date.now() + message.expires_in * 1000;
    this.#tokens.accepted(tokenExpiresAt);
    this.#dispatch({
      type: "authenticated",
      session: {
        connectionId: message.connection_id,
        userId: message.user_id,
        permissions: message.permissions,
        tokenExpiresAt,
      },
    });
    if (!renewal && this.#state.status === "connected") this.#heartbeat.start(message.ping_interval * 1000);
  }

  /** A fresh token on the same socket, so that nobody is cut off. */
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

  /** Tried again while the old token lasts; then the server closes, and the close code says what is next. */
  #renewalFailed(error: unknown): void {
    const { until } = this.#renewal ?? { until: 0 };
    this.#renewal = undefined;
    this.#options.report({ kind: "token", message: "no fresh token for the live connection", detail: error });
    if (error instanceof TokenRefusedError || Date.now() > until) return;
    this.#renewalTimer = setTimeout(() => this.#renewToken(until), new Backoff(this.#options.backoff).failed());
  }

  #tokenFailed(error: unknown): void {
    const refused = error instanceof TokenRefusedError;
    this.#lose({ code: refused ? CloseCode.authInvalid : ABNORMAL, reason: words(error) });
  }

  #lose(cause: LossCause): void {
    if (this.#state.status === "connected") {
      const lastedMs = Date.now() - this.#state.since;
      this.#backoff.lasted(lastedMs);
      if (this.#backoff.failures === 0) this.#renewedAtOnce = false;
    }
    const next = this.#verdict(cause.code);
    this.#leaveSocket("lose");
    if (next !== "retry") this.#tokens.forget();
    if (next === "stop") {
      this.#dispatch({ type: "lost", cause, retryAt: undefined });
      return;
    }
    // A new token is worth an attempt at once, but once: a server that expires tokens on sight is not hammered.
    const atOnce = next === "renew" && !this.#renewedAtOnce;
    if (atOnce) this.#renewedAtOnce = true;
    this.#dispatch({ type: "lost", cause, retryAt: Date.now() + (atOnce ? 0 : this.#backoff.failed()) });
  }

  #verdict(code: number): "stop" | "renew" | "retry" {
    if (code === CloseCode.authInvalid && this.#tokens.proven) return "renew";
    return afterClose(code);
  }

  /** From here on nothing the socket does is heard. */
  #leaveSocket(how: "close" | "lose"): void {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#attempt++;
    clearTimeout(this.#timer);
    clearTimeout(this.#renewalTimer);
    this.#renewal = undefined;
    this.#heartbeat.stop();
    if (socket === undefined) return;
    // A server that is not there would be waited for: `ws` gives the goodbye 30 seconds.
    if (how === "lose" && socket.terminate !== undefined) socket.terminate();
    else socket.close(NORMAL, "");
  }

  #arm(delayMs: number, then: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, delayMs);
  }
}

function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
