import type { Logger } from "pino";
import type { Delivery } from "../../platform/publications.ts";
import type { Authenticate } from "../access/authenticate.ts";
import type { AuthorizeForward } from "../access/authorize-forward.ts";
import type { AuthorizePublish } from "../access/authorize-publish.ts";
import type { AuthorizeSubscribe } from "../access/authorize-subscribe.ts";
import type { ClientLifecycle } from "../access/client-lifecycle.ts";
import type { ClientRegistry } from "../access/client-registry.ts";
import type { Wills } from "../access/wills.ts";
import type { ForwardingBroker } from "../aedes/forwarding-broker.ts";
import type { Connections } from "../listeners/connections.ts";
import type { BrokerStorage } from "../sessions/storage.ts";
import type { DeliveryLimits } from "./delivery.ts";
import type { SharedFrames } from "./publish-frame.ts";

/** The parts of the broker that MQTT 5 clients share with those of MQTT 3.1.1. */
export interface Mqtt5Options extends DeliveryLimits {
  broker: ForwardingBroker;
  registry: ClientRegistry;
  authenticate: Authenticate;
  publishing: AuthorizePublish;
  subscribing: AuthorizeSubscribe;
  forwarding: AuthorizeForward;
  lifecycle: ClientLifecycle;
  connections: Pick<Connections, "accepted">;
  storage: BrokerStorage;
  wills: Wills;
  /** Whether acknowledged messages on this topic are reported. */
  wantsReceipt(topic: string): boolean;
  onDelivered(delivery: Delivery): void;
  /** Bytes of a packet of a client, after its CONNECT. */
  maxPacketBytes: number;
  maxKeepaliveSeconds: number;
  /** The longest session expiry interval. */
  sessionHours: number;
  /** Milliseconds since 1970, by the clock of sessions and message expiry. */
  now: () => number;
  logger: Logger;
}

export interface Mqtt5Parts extends Mqtt5Options {
  readonly frames: SharedFrames;
}
