import { isId } from "../../contract/ids.ts";

/** Neither a client id nor a user id may contain it, so a key is read back in one way only. */
const SEPARATOR = "\u001f";

/** A client id as its client sent it, and the identity that it belongs to where the key of its session says so. */
export interface SessionName {
  clientId: string;
  identity?: string;
}

/**
 * The identity that a client id is reserved for: `camera-north` for the camera `north`, `service-stacker` for the
 * service `stacker`. Undefined for all other client ids.
 */
export function reservedFor(clientId: string): string | undefined {
  if (clientId.startsWith("camera-") && isId(clientId.slice("camera-".length)))
    return `device:${clientId.slice("camera-".length)}`;
  if (clientId.startsWith("service-") && isId(clientId.slice("service-".length)))
    return `service:${clientId.slice("service-".length)}`;
  return undefined;
}

/**
 * The name under which the broker and its store know a client. Client ids are names within one identity: two users who
 * both call their client `archive` have two sessions. With one name for both, whoever connects first could keep the other
 * out for as long as a session lives (Mosquitto refuses nobody, and lets the second throw out the first instead).
 */
export function sessionKey(identity: string, clientId: string): string {
  return reservedFor(clientId) === identity ? clientId : identity + SEPARATOR + clientId;
}

/** For the log. The client id alone for a reserved one, and for a session of a version that had no identity in its keys. */
export function sessionName(key: string): SessionName {
  const at = key.lastIndexOf(SEPARATOR);
  return at < 0 ? { clientId: key } : { clientId: key.slice(at + 1), identity: key.slice(0, at) };
}

/** For a sentence. */
export function describeSession(key: string): string {
  const { clientId, identity } = sessionName(key);
  return identity === undefined ? clientId : `${clientId} (${identity})`;
}
