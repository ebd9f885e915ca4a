import type { Delivery, OutgoingPublication, TakeOver } from "../../platform/publications.ts";

/** What the bridge needs of an MQTT broker, embedded or remote. */
export interface BrokerLink {
  /**
   * Publishes as the backend. Resolves when all subscribers that read have the message. It does not pass through
   * ingest.
   */
  publish(publication: OutgoingPublication): Promise<void>;
  /** Whether an MQTT client of the identity is connected, such as `device:north`. */
  connected(identity: string): boolean;
  /** Calls back when a client has acknowledged (PUBACK) a message. @returns removes the listener */
  onDelivered(listener: (delivery: Delivery) => void): () => void;
  /** Calls back when a newer connection replaces one with the same client id. @returns removes the listener */
  onTakeOver(listener: (takeOver: TakeOver) => void): () => void;
  /** The topics below this one that have a retained message. Undefined for a broker that cannot list them. */
  retainedBelow?(topic: string): readonly string[];
}
