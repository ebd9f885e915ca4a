import type { ByteReader } from "../byte-reader.ts";
import type { Mqtt5Client } from "../client.ts";
import { decodeDisconnect } from "../decode.ts";
import type { Mqtt5Parts } from "../parts.ts";
import { protocolError, ReasonCode } from "../reason-codes.ts";

/** The client ends the connection. @throws {ProtocolError} */
export function handleDisconnect(client: Mqtt5Client, body: ByteReader, parts: Mqtt5Parts): void {
  const { reasonCode, sessionExpiry } = decodeDisconnect(body);
  if (sessionExpiry !== undefined) setExpiry(client, sessionExpiry, parts);
  // Only a DISCONNECT with this code discards the will [MQTT-3.14.4-3].
  if (reasonCode === ReasonCode.success) client.dropsWill = true;
  client.close();
}

function setExpiry(client: Mqtt5Client, sessionExpiry: number, { storage, sessionHours }: Mqtt5Parts): void {
  if (client.settings.sessionExpiry === 0 && sessionExpiry > 0)
    throw protocolError("DISCONNECT keeps a session that CONNECT did not keep");
  if (!client.clean) storage.setExpiry(client.id, sessionExpiry >= sessionHours * 3600 ? undefined : sessionExpiry);
}
