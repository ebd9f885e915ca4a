import { randomUUID } from "node:crypto";
import type { ConnectPacket } from "aedes";
import { ConnackCode, notAuthorized, RefusedConnectionError } from "./errors.ts";
import { reservedFor } from "./session-names.ts";

/**
 * Any UTF-8 is allowed [MQTT-3.1.3-4], except for characters that change how a log line is displayed: control
 * characters, line and paragraph separators, direction marks. U+FFFD is not allowed either: the parser puts it in the
 * place of invalid UTF-8 [MQTT-1.5.3-1].
 */
const CLIENT_ID = /^[^\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}\p{Noncharacter_Code_Point}\uFFFD]{1,128}$/u;
export const MAX_CLIENT_ID_LENGTH = 128;

/**
 * Gives a client without a client id a random one [MQTT-3.1.3-6], except in MQTT 3.1, which has no empty client ids,
 * and except for a persistent session, which the client could not find again.
 */
export function assignClientId(packet: ConnectPacket): void {
  if (packet.clientId === "" && packet.clean === true && packet.protocolVersion === 4)
    packet.clientId = `auto-${randomUUID()}`;
}

/** @throws {RefusedConnectionError} the client id, the keep-alive or the will's QoS is not allowed */
export function checkConnectPacket(
  { clientId, keepalive = 0, will }: ConnectPacket,
  maxKeepaliveSeconds: number,
): void {
  if (!CLIENT_ID.test(clientId)) {
    const why =
      clientId === ""
        ? "the client id is empty and the session is not clean"
        : `the client id is not 1 to ${MAX_CLIENT_ID_LENGTH} characters of UTF-8 without control characters`;
    throw new RefusedConnectionError(ConnackCode.identifierRejected, why);
  }
  // Every client may choose a keep-alive of 0 [MQTT-3.1.2.10]: `link-watch.ts` then detects a dead link.
  if (keepalive > maxKeepaliveSeconds)
    throw notAuthorized(
      `a keep-alive of ${keepalive} s exceeds MAX_MQTT_KEEPALIVE_SECONDS, which is ${maxKeepaliveSeconds}`,
    );
  // [MQTT-3.1.2-14]. The parser accepts QoS 3, but such a will cannot be encoded: Aedes would disconnect its
  // subscribers.
  if ((will?.qos ?? 0) > 2) throw notAuthorized("a will of QoS 3");
}

/**
 * Reserves the client ids of devices for these devices: otherwise any client could occupy a camera's client id first.
 * @throws {RefusedConnectionError} the client id is reserved for another identity
 */
export function checkReservedId(clientId: string, identity: string): void {
  const owner = reservedFor(clientId);
  if (owner === undefined || owner === identity) return;
  const why = `the client id ${clientId} is reserved for ${owner}, and this is ${identity}: use another client id`;
  throw new RefusedConnectionError(ConnackCode.identifierRejected, why);
}
