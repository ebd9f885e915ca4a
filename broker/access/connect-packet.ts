import { randomUUID } from "node:crypto";
import type { ConnectPacket } from "aedes";
import { ConnackCode, notAuthorized, RefusedConnectionError } from "./errors.ts";
import { reservedFor } from "./session-names.ts";

/**
 * Any UTF-8 [MQTT-3.1.3-4] without characters that change how a log line is displayed, and without U+FFFD, which the
 * parser writes in place of invalid UTF-8 [MQTT-1.5.3-1].
 */
const CLIENT_ID = /^[^\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}\p{Noncharacter_Code_Point}\uFFFD]{1,128}$/u;
export const MAX_CLIENT_ID_LENGTH = 128;

/** The fields of a CONNECT that are checked here. */
export interface CheckedConnect extends Pick<ConnectPacket, "clientId" | "clean" | "keepalive" | "protocolVersion"> {
  will?: ConnectPacket["will"] | undefined;
}

/**
 * Gives a client without a client id a random one [MQTT-3.1.3-6]. Only for MQTT 5, which tells the client its id, and for
 * a clean session of MQTT 3.1.1: MQTT 3.1 forbids empty client ids, and an unknown id would never find a persistent
 * session again.
 */
export function assignClientId(packet: CheckedConnect): void {
  const { clientId, clean, protocolVersion } = packet;
  const isAllowed = protocolVersion === 5 || (clean === true && protocolVersion === 4);
  if (clientId === "" && isAllowed) packet.clientId = `auto-${randomUUID()}`;
}

/** @throws {RefusedConnectionError} the client id, the keep-alive or the will's QoS is not allowed */
export function checkConnectPacket({ clientId, keepalive = 0, will }: CheckedConnect, maxKeepaliveS: number): void {
  if (!CLIENT_ID.test(clientId)) {
    const why =
      clientId === ""
        ? "the client id is empty and the session is not clean"
        : `the client id is not 1 to ${MAX_CLIENT_ID_LENGTH} characters of UTF-8 without control characters`;
    throw new RefusedConnectionError(ConnackCode.identifierRejected, why);
  }
  // A client may choose a keep-alive of 0 [MQTT-3.1.2.10]: `link-watch.ts` then detects a dead link.
  if (keepalive > maxKeepaliveS)
    throw notAuthorized(`a keep-alive of ${keepalive} s exceeds MAX_MQTT_KEEPALIVE_SECONDS, which is ${maxKeepaliveS}`);
  // [MQTT-3.1.2-14]. The parser accepts QoS 3. Such a will cannot be encoded, and Aedes would disconnect subscribers.
  if ((will?.qos ?? 0) > 2) throw notAuthorized("a will of QoS 3");
}

/** Keeps other clients from using a device's client id first. @throws {RefusedConnectionError} */
export function checkReservedId(clientId: string, identity: string): void {
  const owner = reservedFor(clientId);
  if (owner === undefined || owner === identity) return;
  const why = `the client id ${clientId} is reserved for ${owner}, and this is ${identity}: use another client id`;
  throw new RefusedConnectionError(ConnackCode.identifierRejected, why);
}
