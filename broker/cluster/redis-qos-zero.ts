import { EventEmitter } from "node:events";
import type { Cluster, Redis } from "ioredis";
import MQEmitterRedis from "mqemitter-redis";
import type { Logger } from "pino";
import { z } from "zod";
import { FAIL_FAST, type RedisConnections } from "../../platform/redis/connections.ts";
import { decodePacket, encodePacket, type KeptPacket } from "../aedes/packet-codec.ts";
import type { ClusterPublication } from "./redis-emitter.ts";

/** Messages being sent to Redis. When there are more, further ones are dropped, as QoS 0 permits. */
const MAX_UNANSWERED = 10_000;

interface QosZeroBusOptions {
  redis: RedisConnections;
  /** Called with each message of another node. */
  onPacket(packet: KeptPacket & { cmd: "publish" }): void;
  logger: Logger;
}

const messageSchema = z.object({ from: z.string(), packet: z.instanceof(Buffer) });

/**
 * Sends QoS 0 messages between the nodes with mqemitter-redis, which uses Redis' PUBLISH and SUBSCRIBE: messages sent
 * while a connection is broken are lost, as QoS 0 permits. Faults of mqemitter-redis, and how each is worked around:
 *
 * - Without an `error` listener on its `state`, the process exits when Redis becomes unavailable: there is a listener.
 * - Filters with `[x]`, `constructor` or `__proto__` never match: all nodes use one channel and match filters
 *   themselves.
 * - It waits for Redis forever, or for 20 attempts: its connections fail at once, and pending messages are bounded.
 * - `close` waits for Redis and causes an unhandled rejection when Redis is unavailable: the connections are closed
 *   directly.
 */
export class QosZeroBus {
  readonly #options: QosZeroBusOptions;
  readonly #connections: { subConn: Redis | Cluster; pubConn: Redis | Cluster };
  readonly #emitter: MQEmitterRedis.MQEmitterRedis;
  readonly #channel: string;
  #brokerId = "";
  #unanswered = 0;
  #closed = false;
  /** Messages of this node that were not sent to the other nodes. */
  dropped = 0;

  constructor(options: QosZeroBusOptions) {
    this.#options = options;
    const { redis, logger } = options;
    this.#channel = `${redis.prefix}mqtt:qos-0`;
    this.#connections = {
      // This connection resubscribes after reconnecting. A pending subscription may wait without a timeout.
      subConn: redis.connect("mqtt-qos-0-in", { maxRetriesPerRequest: null, commandTimeout: undefined }),
      pubConn: redis.connect("mqtt-qos-0-out", {
        ...FAIL_FAST,
        enableAutoPipelining: true,
        commandTimeout: 5_000,
      }),
    };
    // The package's types lack Redis clusters, but it works with them.
    const connections: object = this.#connections;
    this.#emitter = MQEmitterRedis(connections);
    const state: unknown = "state" in this.#emitter ? this.#emitter.state : undefined;
    if (!(state instanceof EventEmitter))
      throw new TypeError("this version of mqemitter-redis has no `state` event emitter");
    state.on("error", (error: unknown) => logger.debug({ err: error }, "messages of QoS 0 do not reach other nodes"));
  }

  /** Starts receiving the messages of other nodes. */
  start(brokerId: string): void {
    this.#brokerId = brokerId;
    this.#emitter.on(this.#channel, (message, done) => {
      done();
      try {
        const { from, packet } = messageSchema.parse(message);
        if (from === this.#brokerId) return;
        const decoded = decodePacket(packet);
        this.#options.onPacket({ ...decoded, cmd: "publish" });
      } catch (error) {
        this.#options.logger.warn({ err: error }, "message of another node unreadable");
      }
    });
  }

  send(publication: ClusterPublication): void {
    if (this.#closed || this.#unanswered >= MAX_UNANSWERED) {
      this.dropped++;
      return;
    }
    const payload = typeof publication.payload === "string" ? Buffer.from(publication.payload) : publication.payload;
    const packet = encodePacket({ ...publication, payload, messageId: undefined });
    this.#unanswered++;
    this.#emitter.emit({ topic: this.#channel, from: this.#brokerId, packet }, (error) => {
      this.#unanswered--;
      if (error) this.dropped++;
    });
  }

  close(): void {
    this.#closed = true;
    this.#connections.subConn.disconnect();
    this.#connections.pubConn.disconnect();
  }
}
