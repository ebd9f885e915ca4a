import type { PropertiedPacket } from "../aedes/propertied-packet.ts";
import type { ConnectWill } from "./decode-connect.ts";

/** The will of a connection, as the access rules and the store take it. */
export interface Will extends PropertiedPacket {
  payload: Buffer;
  /** Seconds between the end of the connection and the will [MQTT-3.1.3-9]. */
  readonly delay: number;
  /** Seconds between the publication of the will and its expiry. Undefined: no expiry. */
  readonly expiry: number | undefined;
}

export function willOf({ topic, payload, qos, retain, delay, expiry, travelling }: ConnectWill): Will {
  const stored = travelling === undefined ? undefined : { properties: travelling };
  return { cmd: "publish", topic, payload, qos, retain, dup: false, stored, delay, expiry };
}
