import type { Delivery, OutgoingPublication, TakeOver } from "../../platform/publications.ts";

/** What the bridge needs of an MQTT broker, embedded or remote. */
export interface BrokerLink {
  /**
   * Publishes as the backend. Resolves when the message has reached all subscribers that are reading. The message
   * bypasses ingest.
   */
  publish(publication: OutgoingPublication): Promise<void>;
  /** Whether an MQTT client of this identity (such as `device:north`) is connected. */
  connected(identity: string): boolean;
  /** Calls back when a client has acknowledged a message (PUBACK). @returns removes the listener */
  onDelivered(listener: (delivery: Delivery) => void): () => void;
  /** Calls back when a newer connection replaces one with the same client id. @returns removes the listener */
  onTakeOver(listener: (takeOver: TakeOver) => void): () => void;
  /**
   * The topics that are below the given one and have a retained message. Undefined for a broker that cannot list them.
   */
  retainedBelow?(topic: string): readonly string[];
}
