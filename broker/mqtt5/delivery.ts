import type { ClientAccess } from "../access/client-registry.ts";
import type { DeliveredPacket } from "../aedes/propertied-packet.ts";
import type { ClientSettings } from "./client-settings.ts";
import type { Output } from "./output.ts";
import type { Message, SharedFrames } from "./publish-frame.ts";

export interface DeliveryLimits {
  /** Unsent bytes above which messages of QoS 0 are dropped. */
  readonly maxQueuedBytes: number;
  /** Unsent and waiting bytes above which a client without a session is too slow. */
  readonly maxUnsentBytes: number;
}

export interface DeliveriesOptions extends DeliveryLimits {
  readonly frames: SharedFrames;
  readonly output: Output;
  readonly settings: ClientSettings;
  readonly access: ClientAccess;
  /** Counts deliveries. */
  readonly counts: { delivered: number; shed: number };
  /** Milliseconds since 1970, by the clock of message expiry. */
  now(): number;
  /** A message id that no session uses, for a client with a session. */
  nextUnloggedId(): number;
  /** Whether an acknowledged message on this topic is reported. */
  wantsReceipt(topic: string): boolean;
  /** More bytes wait than `maxUnsentBytes`. */
  onTooSlow(unsentBytes: number): void;
}

/** A delivery before it has a message id. */
export interface Delivery {
  readonly message: Message;
  qos: 0 | 1 | 2;
  retain: boolean;
  identifiers: number[] | undefined;
}

export interface LiveDelivery extends Delivery {
  readonly packet: DeliveredPacket;
}
