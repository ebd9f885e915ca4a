import type { Topic } from "../../contract/topics.ts";

/** An event that the backend publishes. Like any other event, it goes to the journal first, then to all subscribers. */
export interface BackendEvent {
  topic: Topic;
  event: string;
  /** Null together with `retain` clears the topic. */
  data: unknown;
  /** The JSON text of `data` as a client sent it; it is passed on unchanged. Default: `data` is serialised. */
  dataText?: string | undefined;
  /** The event becomes the state of its topic. Default: false, an event that happens once. */
  retain?: boolean;
  historical?: boolean;
  /** Default: the backend itself. */
  sender?: string;
  /**
   * The event's id: 1 to 64 of `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`. Nodes that publish events for the same cause use
   * the same id, and the journal keeps only the first. Default: a new id.
   */
  id?: string;
}

/**
 * Publishes an event. Events are published in the order of the calls. Resolves when the event is durable. The position
 * is undefined if the journal already has an event with this id.
 * @throws {StoreUnavailableError} the event was not kept
 */
export type Publish = (event: BackendEvent) => Promise<{ position: number | undefined }>;
