import type { Link } from "../contract/events.ts";

/**
 * What is made of one camera's links.
 *
 * ```
 *              link online, any live publication
 *   unknown ─────────────────────────────────────▶ online ◀──── a capture ──── stale
 *      │                                           │ │ ▲ └── none in 2 × interval ──▲
 *      │ will, grace over           link sleeping ┌┘ │ │
 *      │                                          ▼  │ │ link online, any live publication
 *      │                                   sleeping  │ │
 *      │                        until + grace over │ │ will, or the client is gone: grace over
 *      └───────────────────────────────────────▶ offline
 * ```
 *
 * A last will is evidence, not news: the broker sends the will of an old session after the birth of the new one when
 * a link flaps, and wills of clients that it last saw before it crashed. So a will of another session is ignored, one
 * of the current session raises a doubt, and only a doubt that lasts as long as the grace makes a camera offline.
 */
export interface CameraPresence {
  readonly status: "unknown" | "online" | "offline" | "sleeping" | "stale";
  /** The boot that the camera last spoke from. */
  readonly session: string | undefined;
  /** Moments in milliseconds since 1970. */
  readonly since: number;
  /** With `sleeping`: when it said it would be back. */
  readonly until: number | undefined;
  /** When the doubt about its being there is settled; undefined without one. */
  readonly doubtUntil: number | undefined;
  /** Whether its MQTT client was connected when last looked at. */
  readonly connected: boolean;
}

export type PresenceSignal =
  | { type: "link"; link: Link; at: number }
  /** A publication of now, not of a backlog: whoever sent it is there. */
  | { type: "heard"; at: number }
  | { type: "captured"; at: number }
  /** @param captureDueAt when a capture is overdue; undefined while none is expected */
  | { type: "tick"; at: number; connected: boolean; captureDueAt: number | undefined };

export function unknownPresence(session: string | undefined, at: number): CameraPresence {
  return { status: "unknown", session, since: at, until: undefined, doubtUntil: undefined, connected: false };
}

/** The one transition function. Returns the same object when nothing changes. */
export function nextPresence(state: CameraPresence, signal: PresenceSignal, graceMs: number): CameraPresence {
  switch (signal.type) {
    case "link":
      return afterLink(state, signal.link, signal.at, graceMs);
    case "heard":
      if (state.status === "unknown" || state.status === "offline") return to(state, "online", signal.at);
      return state.doubtUntil === undefined ? state : { ...state, doubtUntil: undefined };
    case "captured":
      return state.status === "stale"
        ? to(state, "online", signal.at)
        : nextPresence(state, { type: "heard", at: signal.at }, graceMs);
    case "tick":
      return afterTick(state, signal, graceMs);
  }
}

function afterLink(state: CameraPresence, link: Link, at: number, graceMs: number): CameraPresence {
  const { session } = link;
  const isThere = state.status === "online" || state.status === "stale";
  const ofAnother = state.session !== undefined && state.session !== session;
  switch (link.status) {
    case "online":
      // The same boot on a new connection within the grace: nobody needs to hear of it.
      if (isThere && !ofAnother) return { ...state, session, doubtUntil: undefined };
      return { ...to(state, "online", at), session };
    case "sleeping":
      if (isThere && ofAnother) return state;
      return {
        ...to(state, "sleeping", at),
        session,
        until: link.until === undefined ? undefined : Date.parse(link.until),
      };
    case "offline":
      // Who announced a sleep and then cut the power leaves a will behind, too.
      if (ofAnother || state.status === "sleeping" || state.status === "offline") return state;
      return { ...state, session, doubtUntil: state.doubtUntil ?? at + graceMs };
  }
}

function afterTick(
  state: CameraPresence,
  { at, connected, captureDueAt }: Extract<PresenceSignal, { type: "tick" }>,
  graceMs: number,
): CameraPresence {
  const isThere = state.status === "online" || state.status === "stale";
  if (state.doubtUntil !== undefined) {
    if (at < state.doubtUntil) return state;
    // A will of the current session, but its client is connected: the will of a connection that was taken over.
    if (connected) return { ...state, connected, doubtUntil: at + graceMs };
    return { ...to(state, "offline", at), connected };
  }
  // A client that left without a will. One that was never seen is no evidence: a gateway may speak for its cameras.
  if (isThere && state.connected && !connected) return { ...state, connected, doubtUntil: at + graceMs };
  if (state.status === "sleeping" && state.until !== undefined && at >= state.until + graceMs)
    return to(state, "offline", at);
  if (isThere) {
    const status = captureDueAt !== undefined && at >= captureDueAt ? "stale" : "online";
    if (status !== state.status) return { ...to(state, status, at), connected };
  }
  return state.connected === connected ? state : { ...state, connected };
}

function to(state: CameraPresence, status: CameraPresence["status"], at: number): CameraPresence {
  return { ...state, status, since: at, until: undefined, doubtUntil: undefined };
}
