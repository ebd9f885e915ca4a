/** What the bridge needs of an MQTT broker, embedded or remote. */
export interface BrokerLink {
  /** Publishes as the backend itself; resolves when subscribers that read have it. Does not come back by {@link Ingest}. */
  publish(publication: OutgoingPublication): Promise<void>;
  /** The connected MQTT clients of an identity, such as `device:north`. */
  connected(identity: string): boolean;
  /** Calls back when a client has acknowledged (PUBACK) a message that was published to it. */
  onDelivered(listener: (delivery: Delivery) => void): () => void;
  /** Calls back when one client id is taken over by a newer connection. */
  onTakeOver(listener: (takeOver: { clientId: string; identity: string }) => void): () => void;
}

export interface OutgoingPublication {
  topic: string;
  payload: Buffer;
  qos: 0 | 1 | 2;
  retain: boolean;
}

export interface Delivery {
  identity: string;
  topic: string;
  payload: Buffer;
}

/** A publication by an MQTT client that passed authentication and topic access. */
export interface IncomingPublication {
  /** `device:north`, `user:alice`; the will of a client that is gone still names it. */
  identity: string;
  topic: string;
  payload: Buffer;
  qos: 0 | 1 | 2;
  retain: boolean;
}

/** What a broker needs of the bridge: the place where a publication becomes durable, before it is acknowledged. */
export interface Ingest {
  /**
   * Resolves when the publication is durable: only then may the broker acknowledge and forward it.
   * @returns the journal position to hand to {@link emitted}; undefined when the publication must be acknowledged
   *   but not forwarded again (a repetition), or is none of the journal's business (a topic outside the root)
   */
  accept(publication: IncomingPublication): Promise<{ position: number | undefined; forward: boolean }>;
  /** MQTT subscribers have been given the publication. */
  emitted(position: number): void;
}
