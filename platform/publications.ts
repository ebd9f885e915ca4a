import type { RefusalReason } from "../contract/events.ts";

/** A publication by an MQTT client that passed authentication and topic access. */
export interface IncomingPublication {
  /** `device:north`, `user:alice`. The last will of a disconnected client still has the identity of this client. */
  identity: string;
  topic: string;
  payload: Buffer;
  qos: 0 | 1 | 2;
  retain: boolean;
}

/** What the broker does with a publication after ingest accepted it. */
export interface Acceptance {
  /** Passed to {@link Ingest.delivered} after forwarding. Undefined when the delivery is not tracked. */
  position: number | undefined;
  /** False for a duplicate: the broker acknowledges it and does not forward it. */
  forward: boolean;
  /** The publication is from a backlog: it is forwarded to current subscribers and replaces no retained message. */
  historical?: boolean;
  /** The reason why a publication with the retain flag is not retained: there is no room for it. */
  notRetained?: string;
}

/** A publication that ingest will never accept, however often it is sent. */
export interface PermanentRefusal extends Error {
  permanent: true;
  reason: RefusalReason;
}

/** The place where a publication becomes durable before the broker acknowledges it. */
export interface Ingest {
  /**
   * Resolves when the publication is durable. The broker acknowledges and forwards it only then.
   * @throws {PermanentRefusal} the broker acknowledges the publication and drops it: sending it again would not help
   * @throws any other error: the broker does not acknowledge, so that the client sends the publication again
   */
  accept(publication: IncomingPublication): Promise<Acceptance>;
  /** Called when the publication has reached MQTT subscribers or their queues. */
  delivered(position: number): void;
}

/** A publication by the backend to MQTT subscribers. */
export interface OutgoingPublication {
  topic: string;
  payload: Buffer;
  qos: 0 | 1 | 2;
  retain: boolean;
}

/** A message that an MQTT client has acknowledged (PUBACK). */
export interface Delivery {
  /** The client that acknowledged. */
  identity: string;
  topic: string;
  payload: Buffer;
}

/** A newer connection with the same client id replaced an older one. */
export interface TakeOver {
  clientId: string;
  identity: string;
}

/** Publications of one sender that were acknowledged and, for one reason, not kept. */
export interface RefusedPublication {
  /** `device:north`, `service:stacker`, `user:alice`. */
  readonly identity: string;
  readonly clientId: string;
  reason: RefusalReason;
  /** What was wrong with the newest publication, for people. */
  why: string;
  /** The topic of the newest publication. */
  topic: string;
  /** Publications since the last report about this sender and reason. */
  times: number;
}
