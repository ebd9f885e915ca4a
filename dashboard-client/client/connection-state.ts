export interface Session {
  connectionId: string;
  userId: string;
  permissions: readonly string[];
  /** When the token expires, by the clock of this machine, milliseconds since 1970. */
  /** Milliseconds since 1970; `Infinity` for the secret of an integration. */
  tokenExpiresAt: number;
}

export interface LossCause {
  /** The WebSocket close code. 1006: no close code arrived. */
  code: number;
  reason: string;
}

/**
 * ```
 *                  start                       attempt (the wait is over, or the network has returned)
 *  disconnected ──────────▶ connecting: token ◀──────────────────── connecting: waiting
 *   new│stopped                  │ token                                   ▲
 *       ▲                        ▼                                         │
 *       │                connecting: opening ─────────── lost ─────────────┤
 *       │                        │ open               (with `retryAt`)     │
 *       │                        ▼                                         │
 *       │             connecting: authenticating ─────── lost ─────────────┤
 *       │                        │ authenticated                           │
 *       │                        ▼                                         │
 *       └──── lost ───────── connected ───────────────── lost ─────────────┘
 *     (without `retryAt`)     │    ▲ authenticated: the token was renewed
 *                             └────┘
 *  close, in any state ──▶ disconnected: closed, which is final
 * ```
 */
export type ConnectionState =
  | {
      status: "disconnected";
      /** `new`: before `connect()`. `stopped`: a retry would fail as well. `closed`: after `close()`. */
      reason: "new" | "stopped" | "closed";
      since: number;
      cause: LossCause | undefined;
    }
  | {
      status: "connecting";
      phase: "waiting" | "token" | "opening" | "authenticating";
      /** When the connection was lost, or `connect()` was called, milliseconds since 1970. */
      since: number;
      /** Consecutive failures. */
      failures: number;
      /** In the phase `waiting`: when the next attempt begins, milliseconds since 1970. */
      retryAt: number | undefined;
      cause: LossCause | undefined;
    }
  | { status: "connected"; since: number; session: Session };

export type ConnectionEvent =
  | { type: "start" }
  | { type: "attempt" }
  | { type: "token" }
  | { type: "open" }
  | { type: "authenticated"; session: Session }
  /** Without `retryAt` the client does not retry. */
  | { type: "lost"; cause: LossCause; retryAt: number | undefined }
  | { type: "close" };

/** @returns the next state, or the same object if the event has no effect in this state */
export function transition(state: ConnectionState, event: ConnectionEvent, now: number): ConnectionState {
  if (event.type === "close") return closed(state, now);
  switch (state.status) {
    case "disconnected":
      return event.type === "start" && state.reason !== "closed"
        ? { status: "connecting", phase: "token", since: now, failures: 0, retryAt: undefined, cause: undefined }
        : state;
    case "connecting":
      return connecting(state, event, now);
    case "connected":
      if (event.type === "authenticated") return { ...state, session: event.session };
      return event.type === "lost" ? lost(event, now, 0, now) : state;
  }
}

type Connecting = Extract<ConnectionState, { status: "connecting" }>;

function connecting(state: Connecting, event: ConnectionEvent, now: number): ConnectionState {
  if (event.type === "lost" && state.phase !== "waiting") return lost(event, state.since, state.failures, now);
  switch (state.phase) {
    case "waiting":
      return event.type === "attempt" ? { ...state, phase: "token", retryAt: undefined } : state;
    case "token":
      return event.type === "token" ? { ...state, phase: "opening" } : state;
    case "opening":
      return event.type === "open" ? { ...state, phase: "authenticating" } : state;
    case "authenticating":
      return event.type === "authenticated" ? { status: "connected", since: now, session: event.session } : state;
  }
}

type Lost = Extract<ConnectionEvent, { type: "lost" }>;

function lost({ cause, retryAt }: Lost, since: number, failures: number, now: number): ConnectionState {
  if (retryAt === undefined) return { status: "disconnected", reason: "stopped", since: now, cause };
  return { status: "connecting", phase: "waiting", since, failures: failures + 1, retryAt, cause };
}

function closed(state: ConnectionState, now: number): ConnectionState {
  if (state.status === "disconnected" && state.reason === "closed") return state;
  return { status: "disconnected", reason: "closed", since: now, cause: undefined };
}
