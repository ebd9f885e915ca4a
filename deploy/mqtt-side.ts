import type { BridgeOptions } from "../bridge/bridge.ts";
import type { BrokerLink } from "../bridge/broker-link/broker-link.ts";

/** The broker of an installation, as the backend uses it: the server's own, or another one (`MQTT_URL`). */
export interface MqttSide {
  link: BrokerLink;
  /** What else the bridge gets of the broker. */
  forBridge: Pick<BridgeOptions, "mqttClients" | "brokerStats" | "outside" | "mqttAddress">;
  /** Where simulated cameras connect. */
  brokerUrl(): string;
  /** For people, one pair for each address. */
  addresses(): readonly (readonly [label: string, address: string])[];
  /** Begins to take publications, once the bridge can consume them. */
  listen(): Promise<void>;
  /** Takes no further connections. Idempotent. */
  stopListening(): void;
  stop(): Promise<void>;
}
