import type { Delivery, OutgoingPublication, TakeOver } from "../../platform/publications.ts";

/** What the bridge needs of an MQTT broker, embedded or another one. */
export interface BrokerLink {
  /**
   * Publishes as the backend, bypassing ingest. Resolves when all subscribers that are reading have the message, or when
   * another broker has acknowledged the message.
   * @throws {LeaseLostError} this node does not hold the lease of the fence. Another broker knows no fence.
   */
  publish(publication: OutgoingPublication): Promise<void>;
  /** Whether an MQTT client with this identity (such as `device:north`) is connected. */
  connected(identity: string): boolean;
  /**
   * When the last client with this identity disconnected from all nodes, milliseconds since 1970 by the server's own
   * clock. Undefined when a client is connected, or when this node has seen none. Default: a single node, which needs no
   * memory, because its presence never moves to another node.
   */
  leftAt?(identity: string): number | undefined;
  /** Calls back when a client has acknowledged a message (PUBACK). @returns removes the listener */
  onDelivered(listener: (delivery: Delivery) => void): () => void;
  /** Calls back when a newer connection replaces one with the same client id. @returns removes the listener */
  onTakeOver(listener: (takeOver: TakeOver) => void): () => void;
  /** The topics below `topic` with a retained message. Undefined for a broker that cannot list them. */
  retainedBelow?(topic: string): readonly string[];
  /**
   * Whether everything that cameras have sent up to now is in the journal. While it is false, silence says nothing about
   * a camera. Undefined: always, because the broker is part of the server.
   */
  readonly isHearing?: boolean;
  /** Why no camera can be reached, for an operator. Undefined while cameras can be reached. */
  readonly unavailableReason?: string | undefined;
}
