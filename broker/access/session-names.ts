import { isId } from "../../contract/ids.ts";

/** No client id and no user id may contain it, so each key has exactly one reading. */
const SEPARATOR = "\u001f";

/** The client id as the client sent it, and the identity when the session's key contains it. */
export interface SessionName {
  clientId: string;
  identity?: string;
}

/**
 * The identity that a client id is reserved for: `camera-north` is reserved for the camera `north`, `service-stacker`
 * for the service `stacker`. Undefined for all other client ids.
 */
export function reservedFor(clientId: string): string | undefined {
  if (clientId.startsWith("camera-") && isId(clientId.slice("camera-".length)))
    return `device:${clientId.slice("camera-".length)}`;
  if (clientId.startsWith("service-") && isId(clientId.slice("service-".length)))
    return `service:${clientId.slice("service-".length)}`;
  return undefined;
}

/**
 * The key by which the broker and its store identify a client. Client ids are names within one identity: two users who
 * both call their client `archive` have two sessions. With a shared name, the first to connect could keep the other out
 * as long as its session lives. (Mosquitto instead lets the second client disconnect the first.)
 */
export function sessionKey(identity: string, clientId: string): string {
  return reservedFor(clientId) === identity ? clientId : identity + SEPARATOR + clientId;
}

/**
 * The name for the log. Reserved client ids, and sessions of versions without identities in the keys, have no identity
 * here.
 */
export function sessionName(key: string): SessionName {
  const at = key.lastIndexOf(SEPARATOR);
  return at < 0 ? { clientId: key } : { clientId: key.slice(at + 1), identity: key.slice(0, at) };
}

/** The name for a sentence. */
export function describeSession(key: string): string {
  const { clientId, identity } = sessionName(key);
  return identity === undefined ? clientId : `${clientId} (${identity})`;
}
