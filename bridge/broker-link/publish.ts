import type { Topic } from "../../contract/topics.ts";
import { LeaseLostError } from "../../platform/errors.ts";
import type { Fence, Lease } from "../cluster/cluster.ts";
import type { BrokerLink } from "./broker-link.ts";

/** An event that the backend publishes: to the journal first, then to all subscribers. */
export interface BackendEvent {
  topic: Topic;
  event: string;
  /** Null with `retain` clears the topic. */
  data: unknown;
  /** The JSON text of `data` as a client sent it, passed on unchanged. Default: `data` is serialised. */
  dataText?: string | undefined;
  /** The event becomes the state of its topic. Default: false, an event that happens once. */
  retain?: boolean;
  historical?: boolean;
  /** The event is kept for the history, and no MQTT client gets it. Default: false. */
  isRecordOnly?: boolean;
  /** Default: the backend itself. */
  sender?: string;
  /**
   * 1 to 64 of `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`. Nodes that publish an event for the same cause use the same id, so
   * that the journal keeps one event. Default: a new id.
   */
  id?: string;
  /** The fence of the task for which this node publishes. Default: none. */
  fence?: Fence;
}

/**
 * Publishes events in the order of the calls. Resolves when the event is durable. The position is undefined if the
 * journal already has an event with this id.
 * @throws {StoreUnavailableError} the event was not kept
 * @throws {LeaseLostError} this node does not hold the lease of the fence
 */
export type Publish = (event: BackendEvent) => Promise<{ position: number | undefined }>;

/** Publishes for a task. When the store refuses an event, because the lease is not held, the lease is given up. */
export function publishFor({ fence, lose }: Lease, publish: Publish): Publish {
  return async (event) => {
    try {
      return await publish({ ...event, fence });
    } catch (error) {
      if (error instanceof LeaseLostError) lose();
      throw error;
    }
  };
}

/** As {@link publishFor}, for publications that only MQTT subscribers get. */
export function publishToMqttFor({ fence, lose }: Lease, link: Pick<BrokerLink, "publish">): BrokerLink["publish"] {
  return async (publication) => {
    try {
      await link.publish({ ...publication, fence });
    } catch (error) {
      if (error instanceof LeaseLostError) lose();
      throw error;
    }
  };
}
