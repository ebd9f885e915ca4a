import { EventEmitter } from "node:events";
import type { Cluster, Redis } from "ioredis";
import MQEmitterRedis from "mqemitter-redis";
import type { Logger } from "pino";
import { z } from "zod";
import { FAIL_FAST, type RedisConnections } from "../../platform/redis/connections.ts";
import { decodePacket, encodePacket, type KeptPacket } from "../aedes/packet-codec.ts";
import type { ClusterPublication } from "./redis-emitter.ts";

/**
 * The largest number of messages that Redis has not acknowledged yet. Further messages are dropped, as QoS 0 permits.
 */
const MAX_UNANSWERED = 10_000;

interface QosZeroBusOptions {
  redis: RedisConnections;
  /** Called with each message of another node. */
  onPacket(packet: KeptPacket & { cmd: "publish" }): void;
  logger: Logger;
}

const messageSchema = z.object({ from: z.string(), packet: z.instanceof(Buffer) });

/**
 * Sends QoS 0 messages between the nodes with mqemitter-redis, which uses Redis' PUBLISH and SUBSCRIBE: a broken
 * connection loses messages, as QoS 0 permits. This class works around these faults of mqemitter-redis:
 *
 * - Without Redis, the process exits if `state` has no `error` listener.
 * - Filters with `[x]`, `constructor` or `__proto__` never match. So all nodes use one channel and match filters
 *   themselves.
 * - A message waits for Redis forever, or for 20 attempts. Here, connections fail at once, and pending messages are
 *   bounded.
 * - `close` causes an unhandled rejection without Redis. Here the connections are closed directly.
 */
export class QosZeroBus {
  readonly #options: QosZeroBusOptions;
  readonly #connections: { subConn: Redis | Cluster; pubConn: Redis | Cluster };
  readonly #emitter: MQEmitterRedis.MQEmitterRedis;
  readonly #channel: string;
  #brokerId = "";
  #unanswered = 0;
  #closed = false;

  constructor(options: QosZeroBusOptions) {
    this.#options = options;
    const { redis, logger } = options;
    this.#channel = `${redis.prefix}mqtt:qos-0`;
    this.#connections = {
      // This connection resubscribes after reconnecting, so a pending subscription needs no timeout.
      subConn: redis.connect("mqtt-qos-0-in", { maxRetriesPerRequest: null, commandTimeout: undefined }),
      pubConn: redis.connect("mqtt-qos-0-out", { ...FAIL_FAST, enableAutoPipelining: true, commandTimeout: 5_000 }),
    };
    // The package supports Redis clusters, but its types do not.
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
        this.#options.onPacket({ ...decodePacket(packet), cmd: "publish" });
      } catch (error) {
        this.#options.logger.warn({ err: error }, "message of another node unreadable");
      }
    });
  }

  send(publication: ClusterPublication): void {
    if (this.#closed || this.#unanswered >= MAX_UNANSWERED) return;
    const payload = typeof publication.payload === "string" ? Buffer.from(publication.payload) : publication.payload;
    const packet = encodePacket({ ...publication, payload, messageId: undefined });
    this.#unanswered++;
    this.#emitter.emit({ topic: this.#channel, from: this.#brokerId, packet }, () => {
      this.#unanswered--;
    });
  }

  close(): void {
    this.#closed = true;
    this.#connections.subConn.disconnect();
    this.#connections.pubConn.disconnect();
  }
}
