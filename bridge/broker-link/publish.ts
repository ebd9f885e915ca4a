import type { Topic } from "../../contract/topics.ts";

/** An event that the backend says itself. It takes the way of every other: journal first, then everybody. */
export interface OwnMessage {
  topic: Topic;
  event: string;
  /** Null with `retain` clears the topic. */
  data: unknown;
  /** The JSON text of `data`, when somebody sent it: passed on as it is. */
  dataText?: string | undefined;
  /** Becomes the state of its topic. Default: false, an event that happens once. */
  retain?: boolean;
  historical?: boolean;
  /** Default: the backend itself. */
  sender?: string;
  /**
   * What several nodes say of one cause they say under one id: the journal keeps the first. 1 to 64 of `A-Z`, `a-z`,
   * `0-9`, `.`, `_` and `-`. Default: a new one.
   */
  id?: string;
}

/**
 * Resolves when the event is durable; order is that of the calls. The position is undefined when an event of that
 * `id` is in the journal already.
 * @throws {StoreUnavailableError} nothing was kept
 */
export type Publish = (message: OwnMessage) => Promise<{ position: number | undefined }>;
