import type { Link, Presence } from "../../contract/events.ts";

/**
 * One camera's presence.
 *
 * ```
 *                    link online, any live publication
 *   never_seen ───────────────────────────────────────┐
 *                    link online, any live publication ▼
 *   unknown ──────────────────────────────────────▶ online ◀──── a capture ──── stale
 *      │                                            │ │ ▲ └── none in 2 × interval ──▲
 *      │                            link sleeping ┌─┘ │ │
 *      │                                          ▼   │ │ link online, any live publication
 *      │                    overslept ◀──── sleeping  │ │
 *      │                     until + grace over       │ │ will, or the client is gone: grace over
 *      └──────────── grace over ─────────────────▶ offline
 * ```
 *
 * A last will is evidence, not news: the broker sends the will of an old session after the birth of the new one when
 * a link flaps, and wills of clients that it last saw before it crashed. So a will of another session is ignored, one
 * of the current session raises a doubt, and only a doubt that lasts as long as the grace makes a camera offline.
 */
export interface CameraPresence {
  readonly status: Presence["status"];
  /** The boot that the camera last spoke from. */
  readonly session: string | undefined;
  /** Moments in milliseconds by the server's own clock. */
  readonly since: number;
  /** With `sleeping` and `overslept`: when the camera said that it would be back. */
  readonly until: number | undefined;
  /** When the link broke; undefined while the camera is there, or asleep as announced. */
  readonly goneSince: number | undefined;
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

/** A camera of which only its name is known, because it is registered or because this is the first that is heard of it. */
export function newPresence(status: "never_seen" | "unknown", at: number): CameraPresence {
  const unknown = { session: undefined, until: undefined, goneSince: undefined, doubtUntil: undefined };
  return { status, since: at, ...unknown, connected: false };
}

/**
 * A camera that was there when the server last ran, after the start of the server.
 * @param goneSince when the server last knew the camera to be there
 */
export function awaitedPresence(
  { session, goneSince, at }: { session: string | undefined; goneSince: number; at: number },
  graceMs: number,
): CameraPresence {
  return { ...newPresence("unknown", at), session, goneSince, doubtUntil: at + graceMs };
}

/** The one transition function. Returns the same object when nothing changes. */
export function nextPresence(state: CameraPresence, signal: PresenceSignal, graceMs: number): CameraPresence {
  switch (signal.type) {
    case "link":
      return afterLink(state, signal.link, signal.at, graceMs);
    case "heard":
      if (isAway(state.status)) return to(state, "online", signal.at);
      return state.doubtUntil === undefined ? state : withoutDoubt(state);
    case "captured":
      return state.status === "stale"
        ? to(state, "online", signal.at)
        : nextPresence(state, { type: "heard", at: signal.at }, graceMs);
    case "tick":
      return afterTick(state, signal, graceMs);
  }
}

/** Statuses that any live publication ends. A camera that sleeps says by its link that it is awake. */
export function isAway(status: CameraPresence["status"]): boolean {
  return status === "never_seen" || status === "unknown" || status === "offline" || status === "overslept";
}

function afterLink(state: CameraPresence, link: Link, at: number, graceMs: number): CameraPresence {
  const { session } = link;
  const isThere = state.status === "online" || state.status === "stale";
  const ofAnother = state.session !== undefined && state.session !== session;
  switch (link.status) {
    case "online":
      // The same boot on a new connection within the grace: nobody needs to hear of it.
      if (isThere && !ofAnother) return { ...withoutDoubt(state), session };
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
      if (ofAnother || state.status === "sleeping" || state.status === "overslept" || state.status === "offline")
        return state;
      return { ...state, session, goneSince: state.goneSince ?? at, doubtUntil: state.doubtUntil ?? at + graceMs };
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
    if (connected) return { ...state, connected, goneSince: at, doubtUntil: at + graceMs };
    const goneSince = state.goneSince ?? at;
    return { ...to(state, "offline", goneSince), goneSince, connected };
  }
  // A client that left without a will. One that was never seen is no evidence: a gateway may speak for its cameras.
  if (isThere && state.connected && !connected) return { ...state, connected, goneSince: at, doubtUntil: at + graceMs };
  if (state.status === "sleeping" && state.until !== undefined && at >= state.until + graceMs) {
    const { until } = state;
    return { ...to(state, "overslept", until), until, goneSince: until };
  }
  if (isThere) {
    const status = captureDueAt !== undefined && at >= captureDueAt ? "stale" : "online";
    if (status !== state.status) return { ...to(state, status, at), connected };
  }
  return state.connected === connected ? state : { ...state, connected };
}

function to(state: CameraPresence, status: CameraPresence["status"], at: number): CameraPresence {
  return { ...state, status, since: at, until: undefined, goneSince: undefined, doubtUntil: undefined };
}

function withoutDoubt(state: CameraPresence): CameraPresence {
  return { ...state, goneSince: undefined, doubtUntil: undefined };
}
