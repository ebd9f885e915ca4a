import type { Delivery, OutgoingPublication, TakeOver } from "../../platform/publications.ts";

/** What the bridge needs of an MQTT broker, embedded or remote. */
export interface BrokerLink {
  /** Publishes as the backend itself; resolves when subscribers that read have it. Does not come back by {@link Ingest}. */
  publish(publication: OutgoingPublication): Promise<void>;
  /** The connected MQTT clients of an identity, such as `device:north`. */
  connected(identity: string): boolean;
  /** Calls back when a client has acknowledged (PUBACK) a message that was published to it. */
  onDelivered(listener: (delivery: Delivery) => void): () => void;
  /** Calls back when one client id is taken over by a newer connection. */
  onTakeOver(listener: (takeOver: TakeOver) => void): () => void;
  /** The topics below this one that have a retained message. Undefined for a broker that cannot be asked. */
  retainedBelow?(topic: string): readonly string[];
}
