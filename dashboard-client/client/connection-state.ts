/** What the server said when it accepted the token. */
export interface Session {
  connectionId: string;
  userId: string;
  permissions: readonly string[];
  /** When the token expires, milliseconds since 1970 by this machine's clock. */
  tokenExpiresAt: number;
}

/** Why there is no connection. */
export interface LossCause {
  /** The WebSocket close code; 1006 for everything that ended without one: no network, a time-out, a silent server. */
  code: number;
  /** In words, for people. */
  reason: string;
}

export type ConnectingPhase = "waiting" | "token" | "opening" | "authenticating";

/**
 * ```
 *                  start                       attempt (time is up, or the network is back)
 *  disconnected ──────────▶ connecting: token ◀──────────────────── connecting: waiting
 *   new│stopped                  │ token                                   ▲
 *       ▲                        ▼                                         │
 *       │                connecting: opening ─────────── lost ─────────────┤
 *       │                        │ open               (with a time to      │
 *       │                        ▼                     try again)          │
 *       │             connecting: authenticating ─────── lost ─────────────┤
 *       │                        │ authenticated                           │
 *       │                        ▼                                         │
 *       └──── lost ───────── connected ───────────────── lost ─────────────┘
 *     (never try again)       │    ▲ authenticated: the token was renewed
 *                             └────┘
 *  close, from anywhere ──▶ disconnected: closed, for good
 * ```
 */
export type ConnectionState =
  | {
      status: "disconnected";
      /** `new`: never asked to connect. `stopped`: trying again would not help. `closed`: by `close()`. */
      reason: "new" | "stopped" | "closed";
      since: number;
      cause: LossCause | undefined;
    }
  | {
      status: "connecting";
      phase: ConnectingPhase;
      /** Since when there is no connection, milliseconds since 1970; the phases share it. */
      since: number;
      /** Failures in a row. */
      failures: number;
      /** When the next attempt begins; while `waiting` only. */
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
  /** `retryAt` undefined: do not try again. */
  | { type: "lost"; cause: LossCause; retryAt: number | undefined }
  | { type: "close" };

/** The next state. An event that means nothing in a state returns the very same object. */
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

function connecting(
  state: Extract<ConnectionState, { status: "connecting" }>,
  event: ConnectionEvent,
  now: number,
): ConnectionState {
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

function lost(
  { cause, retryAt }: Extract<ConnectionEvent, { type: "lost" }>,
  since: number,
  failures: number,
  now: number,
): ConnectionState {
  if (retryAt === undefined) return { status: "disconnected", reason: "stopped", since: now, cause };
  return { status: "connecting", phase: "waiting", since, failures: failures + 1, retryAt, cause };
}

function closed(state: ConnectionState, now: number): ConnectionState {
  if (state.status === "disconnected" && state.reason === "closed") return state;
  return { status: "disconnected", reason: "closed", since: now, cause: undefined };
}
