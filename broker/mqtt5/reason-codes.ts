/** The reason codes of MQTT 5.0, section 2.4, that the server sends or looks for. Codes from 0x80 are failures. */
export const ReasonCode = {
  success: 0x00,
  noSubscriptionExisted: 0x11,
  malformedPacket: 0x81,
  protocolError: 0x82,
  clientIdNotValid: 0x85,
  badCredentials: 0x86,
  notAuthorized: 0x87,
  serverUnavailable: 0x88,
  serverBusy: 0x89,
  serverShuttingDown: 0x8b,
  badAuthenticationMethod: 0x8c,
  keepAliveTimeout: 0x8d,
  sessionTakenOver: 0x8e,
  filterInvalid: 0x8f,
  topicInvalid: 0x90,
  packetIdNotFound: 0x92,
  receiveMaximumExceeded: 0x93,
  topicAliasInvalid: 0x94,
  packetTooLarge: 0x95,
  quotaExceeded: 0x97,
  administrativeAction: 0x98,
  payloadFormatInvalid: 0x99,
  connectionRateExceeded: 0x9f,
  connectTimeExceeded: 0xa0,
} as const;
export type ReasonCode = (typeof ReasonCode)[keyof typeof ReasonCode];

/** The client has broken the protocol: the connection ends with this reason code [MQTT-4.13.1-1]. */
export class ProtocolError extends Error {
  override name = "ProtocolError";
  readonly reasonCode: ReasonCode;

  /** @param message the reason string that the client gets */
  constructor(reasonCode: ReasonCode, message: string) {
    super(message);
    this.reasonCode = reasonCode;
  }
}

export function malformed(why: string): ProtocolError {
  return new ProtocolError(ReasonCode.malformedPacket, why);
}

export function protocolError(why: string): ProtocolError {
  return new ProtocolError(ReasonCode.protocolError, why);
}
