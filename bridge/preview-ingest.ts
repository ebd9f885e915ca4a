import type { Topic } from "../contract/topics.ts";
import { StoreUnavailableError } from "../platform/errors.ts";
import { FairQueue } from "../platform/fair-queue.ts";
import type { IncomingPublication } from "../platform/publications.ts";
import { eventBody } from "./delivery/frames.ts";
import type { JournalMessage } from "./journal/journal.ts";
import { encodeReference } from "./journal/preview-references.ts";
import type { TopicFacts } from "./journal-message.ts";
import { PreviewRefusedError, type Previews } from "./previews/previews.ts";

/**
 * Previews that are written at the same time, in all and per sender. Further previews wait, unacknowledged. The broker
 * limits the bytes of waiting previews to `MAX_MQTT_PENDING_BYTES` per identity.
 */
const MAX_CONCURRENT = 32;
const MAX_CONCURRENT_PER_SENDER = 4;

export class PreviewIngest {
  readonly #options: { previews: Pick<Previews, "save">; now: () => number };
  readonly #queue = new FairQueue({ maxRunning: MAX_CONCURRENT, maxPerOwner: MAX_CONCURRENT_PER_SENDER });

  /** @param options.now milliseconds since 1970 */
  constructor(options: { previews: Pick<Previews, "save">; now: () => number }) {
    this.#options = options;
  }

  /**
   * Stores a preview, and returns the journal message that records it.
   * @param senderAheadMs how far the camera's clock is ahead, milliseconds
   * @throws {PreviewRefusedError} the payload is no acceptable JPEG
   * @throws {StoreUnavailableError} the preview cannot be written
   */
  async save(
    { identity, topic: name, payload, qos, incomingId, publisher, expiresAt, properties }: IncomingPublication,
    { channels, place }: TopicFacts,
    { camera, capture }: Extract<Topic, { kind: "camera-preview" }>,
    senderAheadMs: number,
  ): Promise<JournalMessage> {
    const { previews, now } = this.#options;
    const { updated, newest } = await this.#queue
      .run(identity, () => previews.save(camera, capture, payload, { senderAheadMs }))
      .catch((error: unknown) => {
        if (error instanceof PreviewRefusedError) throw error;
        throw new StoreUnavailableError("the preview could not be written", { cause: error });
      });
    const timestamp = new Date(now()).toISOString();
    // A preview has no id. Equal bytes for the same capture are a duplicate.
    const id = `preview.${camera}.${capture}.${updated.etag}`;
    const reference = encodeReference({ camera, capture, etag: updated.etag });
    const event = { event: "preview.updated", data: updated, dataText: undefined, timestamp, id: undefined };
    return {
      topic: name,
      channels,
      camera,
      // A preview from a backlog is history: the camera has a newer one.
      body: eventBody({ ...event, historical: !newest, seq: undefined, place }),
      state: undefined,
      origin: { sender: identity, id, session: undefined, seq: undefined },
      // The journal stores no pictures. Subscribers that follow it get the payload from memory.
      publish: qos === 0 ? undefined : { payload, qos, retain: false, reference, publisher, expiresAt, properties },
      incomingId,
    };
  }
}
