import type { Feed } from "./feed.ts";
import { type MqttFeedOptions, openMqttFeed } from "./mqtt-feed.ts";

export interface IngestOptions {
  publishers: readonly Omit<MqttFeedOptions, "qos" | "onAcknowledged">[];
  inFlight: number;
}

/** Publishers with a constant number of QoS 1 messages in flight: every acknowledgement triggers a new message. */
export class Ingest {
  acknowledged = 0;
  #feeds: Feed[] = [];
  #running = false;

  async open({ publishers }: IngestOptions): Promise<void> {
    const feeds: Feed[] = [];
    for (const [index, publisher] of publishers.entries()) {
      const onAcknowledged = (count: number) => {
        this.acknowledged += count;
        if (this.#running) feeds[index]?.publish(count);
      };
      feeds.push(await openMqttFeed({ ...publisher, qos: 1, onAcknowledged }));
    }
    this.#feeds = feeds;
  }

  start(inFlight: number): void {
    this.#running = true;
    for (const feed of this.#feeds) feed.publish(inFlight);
  }

  /** Resolves when all sent messages are acknowledged. @throws if the connection was lost */
  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#feeds.map((feed) => feed.pending(0)));
  }
}
