import type { RefusalReason } from "../contract/events.ts";
import type { AppendedPublication, IncomingId, StoredProperties } from "./publication-log.ts";
import type { RetainedQuota } from "./retained-quota.ts";

/** A publication of an authenticated MQTT client with write access to the topic. */
export interface IncomingPublication extends StoredProperties {
  /** `device:north`, `user:alice`. A will has the identity of its client. */
  identity: string;
  topic: string;
  payload: Buffer;
  qos: 0 | 1 | 2;
  retain: boolean;
  /** Stored together with the publication. Default: none. */
  incomingId?: IncomingId | undefined;
  /**
   * The session key of the client whose will this is. With several nodes, the store takes a will only from the node that
   * has the client: a node that was suspended does not know yet that its client has connected to another node. Default:
   * no will.
   */
  willOf?: string | undefined;
  /** The limits of a retained message. Default: none. */
  quota?: RetainedQuota | undefined;
}

/** What the broker does with a publication after ingest accepted it. */
export interface Acceptance {
  /** False for a duplicate and for a command: the broker acknowledges the publication, and does not forward it. */
  forward: boolean;
  /** The publication is from a backlog and replaces no retained message. */
  historical?: boolean;
  /** Why there is no room to retain the publication. */
  notRetained?: string;
}

/** Ingest will never accept the publication. */
export interface PermanentRefusal extends Error {
  permanent: true;
  reason: RefusalReason;
}

export interface Ingest {
  /**
   * Resolves when the publication is durable. The broker then acknowledges it, and forwards it if it is not in the log.
   * @throws {PermanentRefusal} the broker acknowledges and drops the publication
   * @throws {ClientTakenError} the broker drops the will
   * @throws any other error: the broker does not acknowledge, so the client resends the publication
   */
  accept(publication: IncomingPublication): Promise<Acceptance>;
}

/** A publication by the backend to MQTT subscribers. */
export interface OutgoingPublication
  extends Omit<IncomingPublication, "identity" | "incomingId" | "willOf" | "quota" | keyof StoredProperties> {
  /** As in {@link AppendedPublication}. Default: none. */
  fence?: AppendedPublication["fence"];
}

/** A message that the client of the identity has acknowledged (PUBACK). */
export type Delivery = Pick<IncomingPublication, "identity" | "topic" | "payload">;

/** A newer connection with the same client id replaced an older one. */
export type TakeOver = Pick<RefusedPublication, "clientId" | "identity">;

/** Publications of one sender that were acknowledged and discarded for one reason. */
export interface RefusedPublication {
  /** `device:north`, `service:stacker`, `user:alice`. */
  readonly identity: string;
  readonly clientId: string;
  reason: RefusalReason;
  /** What was wrong with the newest publication, for people. */
  why: string;
  /** The topic of the newest publication. */
  topic: string;
  /** Publications since the last report. */
  times: number;
}
