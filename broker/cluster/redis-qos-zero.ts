import type { Logger } from "pino";
import type { RedisConnections } from "../../platform/redis/connections.ts";
import { decodePacket, encodePacket, type KeptPacket } from "../aedes/packet-codec.ts";

/**
 * The largest number of messages that Redis has not acknowledged yet. Further messages are dropped, as QoS 0 permits.
 */
const MAX_UNANSWERED = 10_000;

export interface QosZeroPublication extends Omit<KeptPacket, "cmd" | "payload" | "messageId"> {
  cmd: "publish";
  payload: Buffer | string;
}

interface QosZeroBusOptions {
  redis: RedisConnections;
  /** The id of this run of the broker, which is in the messages that it sends. */
  brokerId: string;
  /** Called with each message of another node. */
  onPacket(packet: KeptPacket & { cmd: "publish" }): void;
  logger: Logger;
}

/**
 * Sends QoS 0 messages between the nodes with Redis' PUBLISH and SUBSCRIBE: a broken connection loses messages, as QoS 0
 * permits. In the log they would displace other publications, and MQTT requires no order between messages of QoS 0 and
 * QoS 1 [MQTT-4.6.0-6]. All nodes use one channel and match filters themselves: otherwise Redis would compare each message with
 * the filters of all clients.
 */
export class QosZeroBus {
  readonly #redis: RedisConnections;
  readonly #channel: string;
  readonly #end: () => void;
  /** Messages of this turn of the event loop. */
  #batch: Buffer[] = [];
  #unanswered = 0;
  #isClosed = false;

  constructor({ redis, brokerId, onPacket, logger }: QosZeroBusOptions) {
    this.#channel = `${redis.prefix}mqtt:qos-0`;
    this.#redis = redis;
    const onMessage = (message: Buffer) => {
      try {
        const packet = decodePacket(message);
        if (packet.brokerId !== brokerId) onPacket({ ...packet, cmd: "publish" });
      } catch (error) {
        logger.warn({ err: error }, "message of another node unreadable");
      }
    };
    this.#end = redis.subscriber.subscribe(this.#channel, { onMessage });
  }

  send(publication: QosZeroPublication): void {
    if (this.#isClosed || this.#unanswered >= MAX_UNANSWERED) return;
    const payload = typeof publication.payload === "string" ? Buffer.from(publication.payload) : publication.payload;
    this.#unanswered++;
    if (this.#batch.push(encodePacket({ ...publication, payload, messageId: undefined })) === 1)
      setImmediate(() => this.#flush());
  }

  close(): void {
    this.#isClosed = true;
    this.#end();
  }

  #flush(): void {
    const batch = this.#batch;
    this.#batch = [];
    const answered = () => {
      this.#unanswered -= batch.length;
    };
    const publish = batch.map((message) => ["publish", this.#channel, message]);
    this.#redis.bulk.do((redis) => redis.pipeline(publish).exec()).then(answered, answered);
  }
}
