import { isId } from "../../contract/ids.ts";

/** No client id and no user id may contain this character, so each key can be read in only one way. */
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
 * both call their client `archive` have two sessions. If they shared a session, the first to connect could keep the
 * other out as long as the session exists. (Mosquitto instead lets the second client disconnect the first.)
 */
export function sessionKey(identity: string, clientId: string): string {
  return reservedFor(clientId) === identity ? clientId : identity + SEPARATOR + clientId;
}

/**
 * The client id and the identity for the log. The identity is missing for reserved client ids, and for sessions of
 * earlier versions, whose keys contain no identity.
 */
export function sessionName(key: string): SessionName {
  const at = key.lastIndexOf(SEPARATOR);
  return at < 0 ? { clientId: key } : { clientId: key.slice(at + 1), identity: key.slice(0, at) };
}

/** The session's name, for use in a sentence. */
export function describeSession(key: string): string {
  const { clientId, identity } = sessionName(key);
  return identity === undefined ? clientId : `${clientId} (${identity})`;
}
