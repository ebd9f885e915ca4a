/** Where devices connect. */
export interface MqttAddress {
  /** `mqtt`, `mqtts`, `ws` or `wss`. */
  protocol: string;
  /** Default: the host of this server. */
  host?: string;
  port: number;
}
