import type { Properties } from "./properties.ts";

/** What a client allows the server to send, from its CONNECT. */
export interface ClientSettings {
  /** Publications of QoS 1 and 2 without an acknowledgement [MQTT-3.3.4-9]. */
  readonly receiveMaximum: number;
  /** Bytes of a packet [MQTT-3.1.2-24]. */
  readonly maximumPacketSize: number;
  readonly topicAliasMaximum: number;
  /** Whether acknowledgements may have a reason string [MQTT-3.1.2-29]. */
  readonly wantsProblemInformation: boolean;
  /** Seconds. 0: the session ends with the connection. */
  readonly sessionExpiry: number;
}

/** The server sends at most this many publications without an acknowledgement, whatever the client allows. */
const MAX_UNACKNOWLEDGED = 16_384;

export function settingsOf(properties: Properties): ClientSettings {
  return {
    receiveMaximum: Math.min(properties.receiveMaximum ?? MAX_UNACKNOWLEDGED, MAX_UNACKNOWLEDGED),
    maximumPacketSize: properties.maximumPacketSize ?? Number.POSITIVE_INFINITY,
    topicAliasMaximum: properties.topicAliasMaximum ?? 0,
    wantsProblemInformation: properties.requestProblemInformation !== 0,
    sessionExpiry: properties.sessionExpiry ?? 0,
  };
}
