import type { Link, Presence } from "../../contract/events.ts";

/**
 * The state machine of one camera's presence.
 *
 * ```
 *                    link online, any live publication
 *   never_seen ───────────────────────────────────────┐
 *                    link online, any live publication ▼
 *   unknown ──────────────────────────────────────▶ online ◀──── a capture ──── stale
 *      │                                            │ │ ▲ └── no capture by staleAt ──▲
 *      │                            link sleeping ┌─┘ │ │
 *      │                                          ▼   │ │ link online, any live publication
 *      │                    overslept ◀──── sleeping  │ │
 *      │                     until + grace passed     │ │ will, or disconnected without a will: grace passed
 *      └──────────── grace passed ───────────────▶ offline
 * ```
 *
 * A last will does not prove that a camera is offline. When a link flaps, the broker sends the will of the old session
 * after the birth of the new one. After a crash of the broker, the broker sends the wills of all clients that were
 * connected before the crash. So the will of another session is ignored. The will of the current session starts a grace
 * period. The camera becomes offline only if it sends nothing during that period.
 */
export interface CameraPresence {
  readonly status: Presence["status"];
  /** The camera's session (one per boot), from its last link message. */
  readonly session: string | undefined;
  /** When the status began. All times are milliseconds by the server's own clock. */
  readonly since: number;
  /** For `sleeping` and `overslept`: the announced time of the return. */
  readonly until: number | undefined;
  /** When the link broke; undefined while the camera is connected, or asleep as announced. */
  readonly offlineSince: number | undefined;
  /** Undefined when no grace period runs. */
  readonly graceEndsAt: number | undefined;
  /** Whether the camera's MQTT client was connected at the last tick. */
  readonly connected: boolean;
}

export type PresenceSignal =
  | { type: "link"; link: Link; at: number }
  /** The camera sent a live publication, not one from a backlog. */
  | { type: "heard"; at: number }
  | { type: "captured"; at: number }
  | { type: "tick"; at: number; connected: boolean; staleAt: number | undefined };

/** The initial presence: `never_seen` of a registered camera, `unknown` of a camera that sends its first message. */
export function newPresence(status: "never_seen" | "unknown", at: number): CameraPresence {
  const unset = { session: undefined, until: undefined, offlineSince: undefined, graceEndsAt: undefined };
  return { status, since: at, ...unset, connected: false };
}

/** The presence, after a start of the server, of a camera that was still connected at `offlineSince`. */
export function awaitedPresence(
  { session, offlineSince, at }: { session: string | undefined; offlineSince: number; at: number },
  graceMs: number,
): CameraPresence {
  return { ...newPresence("unknown", at), session, offlineSince, graceEndsAt: at + graceMs };
}

/** The one transition function. Returns the same object when nothing changes. */
export function nextPresence(state: CameraPresence, signal: PresenceSignal, graceMs: number): CameraPresence {
  switch (signal.type) {
    case "link":
      return afterLink(state, signal.link, signal.at, graceMs);
    case "heard":
      if (isAway(state.status)) return to(state, "online", signal.at);
      return state.graceEndsAt === undefined ? state : withoutGrace(state);
    case "captured":
      return state.status === "stale"
        ? to(state, "online", signal.at)
        : nextPresence(state, { type: "heard", at: signal.at }, graceMs);
    case "tick":
      return afterTick(state, signal, graceMs);
  }
}

/** Whether any live publication makes the camera online. A sleeping camera must send a link message. */
export function isAway(status: CameraPresence["status"]): boolean {
  return status === "never_seen" || status === "unknown" || status === "offline" || status === "overslept";
}

export function withLongerGrace(state: CameraPresence, milliseconds: number): CameraPresence {
  return state.graceEndsAt === undefined ? state : { ...state, graceEndsAt: state.graceEndsAt + milliseconds };
}

function afterLink(state: CameraPresence, link: Link, at: number, graceMs: number): CameraPresence {
  const { session } = link;
  const isConnected = state.status === "online" || state.status === "stale";
  const isOtherSession = state.session !== undefined && state.session !== session;
  switch (link.status) {
    case "online":
      // The same boot reconnected within the grace period: nothing to publish.
      if (isConnected && !isOtherSession) return { ...withoutGrace(state), session };
      return { ...to(state, "online", at), session };
    case "sleeping":
      if (isConnected && isOtherSession) return state;
      return {
        ...to(state, "sleeping", at),
        session,
        until: link.until === undefined ? undefined : Date.parse(link.until),
      };
    case "offline":
      // A camera that announced its sleep and then cut its power also leaves a will.
      if (isOtherSession || state.status === "sleeping" || state.status === "overslept" || state.status === "offline")
        return state;
      return {
        ...state,
        session,
        offlineSince: state.offlineSince ?? at,
        graceEndsAt: state.graceEndsAt ?? at + graceMs,
      };
  }
}

function afterTick(
  state: CameraPresence,
  { at, connected, staleAt }: Extract<PresenceSignal, { type: "tick" }>,
  graceMs: number,
): CameraPresence {
  const isConnected = state.status === "online" || state.status === "stale";
  if (state.graceEndsAt !== undefined) {
    if (at < state.graceEndsAt) return state;
    // The client is connected: the will belongs to an earlier connection, which was taken over.
    if (connected) return { ...state, connected, offlineSince: at, graceEndsAt: at + graceMs };
    const offlineSince = state.offlineSince ?? at;
    return { ...to(state, "offline", offlineSince), offlineSince, connected };
  }
  // The client disconnected without a will. If no client ever connected, a gateway may publish for the camera.
  if (isConnected && state.connected && !connected)
    return { ...state, connected, offlineSince: at, graceEndsAt: at + graceMs };
  if (state.status === "sleeping" && state.until !== undefined && at >= state.until + graceMs) {
    const { until } = state;
    return { ...to(state, "overslept", until), until, offlineSince: until };
  }
  if (isConnected) {
    const status = staleAt !== undefined && at >= staleAt ? "stale" : "online";
    if (status !== state.status) return { ...to(state, status, at), connected };
  }
  return state.connected === connected ? state : { ...state, connected };
}

function to(state: CameraPresence, status: CameraPresence["status"], at: number): CameraPresence {
  return { ...state, status, since: at, until: undefined, offlineSince: undefined, graceEndsAt: undefined };
}

function withoutGrace(state: CameraPresence): CameraPresence {
  return { ...state, offlineSince: undefined, graceEndsAt: undefined };
}
