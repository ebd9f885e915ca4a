import { isId } from "../../contract/ids.ts";

/** No client id and no user id may contain this character, so each key has one meaning. */
const SEPARATOR = "\u001f";

interface SessionName {
  /** The client id as the client sent it. */
  clientId: string;
  /** Missing for reserved client ids, and for sessions of earlier versions. */
  identity?: string;
  /** For the client of a camera. */
  camera?: string;
}

/**
 * The identity that owns a reserved client id: `device:north` owns `camera-north`, and `service:stacker` owns
 * `service-stacker`.
 */
export function reservedFor(clientId: string): string | undefined {
  if (clientId.startsWith("camera-") && isId(clientId.slice("camera-".length)))
    return `device:${clientId.slice("camera-".length)}`;
  if (clientId.startsWith("service-") && isId(clientId.slice("service-".length)))
    return `service:${clientId.slice("service-".length)}`;
  return undefined;
}

/**
 * The key by which the broker and its store identify a session. It contains the user's identity: if two users whose
 * clients are both called `archive` shared a session, the first client could keep the second one out. (In Mosquitto,
 * the second client disconnects the first.)
 */
export function sessionKey(identity: string, clientId: string): string {
  return reservedFor(clientId) === identity ? clientId : identity + SEPARATOR + clientId;
}

/** Splits a key, for the log. */
export function sessionName(key: string): SessionName {
  const at = key.lastIndexOf(SEPARATOR);
  return at < 0 ? namesOf({ clientId: key }) : namesOf({ clientId: key.slice(at + 1), identity: key.slice(0, at) });
}

/** The names of a client for the log. Log lines of all parts name a camera by its id. */
export function namesOf({ clientId, identity }: { clientId: string; identity?: string }): SessionName {
  const camera = /^device:(.*)$/.exec(identity ?? reservedFor(clientId) ?? "")?.[1];
  return { clientId, ...(identity === undefined ? {} : { identity }), ...(camera === undefined ? {} : { camera }) };
}

/** Describes the session for use in a sentence. */
export function describeSession(key: string): string {
  const { clientId, identity } = sessionName(key);
  return identity === undefined ? clientId : `${clientId} (${identity})`;
}
