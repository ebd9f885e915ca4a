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
  /** The topics below this one that have a retained message. Undefined for a broker that cannot be asked. */
  retainedBelow?(topic: string): readonly string[];
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

/** What became of a publication. */
export interface Accepted {
  /** To be handed to {@link Ingest.delivered}; undefined when nothing waits for that. */
  position: number | undefined;
  /** False for a repetition: to be acknowledged only. */
  forward: boolean;
  /** It comes late, from a backlog: it goes to who is subscribed now, and replaces no retained message. */
  historical?: boolean;
  /** Why it is not retained though it was to be. */
  notRetained?: string;
}

/** What a broker needs of the bridge: the place where a publication becomes durable, before it is acknowledged. */
export interface Ingest {
  /** Resolves when the publication is durable: only then may the broker acknowledge and forward it. */
  accept(publication: IncomingPublication): Promise<Accepted>;
  /** MQTT subscribers have been given the publication. */
  delivered(position: number): void;
}
