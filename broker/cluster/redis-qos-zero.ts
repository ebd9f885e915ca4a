import { EventEmitter } from "node:events";
import type { Cluster, Redis } from "ioredis";
import MQEmitterRedis from "mqemitter-redis";
import type { Logger } from "pino";
import { z } from "zod";
import { FAIL_FAST, type RedisConnections } from "../../platform/redis/connections.ts";
import { decodePacket, encodePacket, type KeptPacket } from "../aedes/packet-codec.ts";
import type { ClusterPublication } from "./redis-emitter.ts";

/** On their way to Redis. Beyond, messages are dropped, as QoS 0 permits. */
const MAX_UNANSWERED = 10_000;

export interface QosZeroBusOptions {
  redis: RedisConnections;
  /** A message of another node. */
  onPacket(packet: KeptPacket & { cmd: "publish" }): void;
  logger: Logger;
}

const messageSchema = z.object({ from: z.string(), packet: z.instanceof(Buffer) });

/**
 * Messages of QoS 0 between the nodes, by mqemitter-redis, which promises as little as they are promised: PUBLISH and
 * SUBSCRIBE, where a connection that is cut misses what is said meanwhile. Its weaknesses, and what is done about each:
 *
 * - Without a listener for its `state`'s `error` the process ends when Redis goes: there is one.
 * - Filters with `[x]`, `constructor` or `__proto__` never match: all nodes use one channel, and match by themselves.
 * - It waits for Redis without end, or for 20 attempts: it is given connections that fail at once, and a count of what
 *   may be under way.
 * - `close` waits for Redis, and rejects unheard when it is gone: the connections are ended instead.
 */
export class QosZeroBus {
  readonly #options: QosZeroBusOptions;
  readonly #connections: { subConn: Redis | Cluster; pubConn: Redis | Cluster };
  readonly #emitter: MQEmitterRedis.MQEmitterRedis;
  readonly #channel: string;
  #brokerId = "";
  #unanswered = 0;
  #closed = false;
  /** Messages that other nodes did not get from this one. */
  dropped = 0;

  constructor(options: QosZeroBusOptions) {
    this.#options = options;
    const { redis, logger } = options;
    this.#channel = `${redis.prefix}mqtt:qos-0`;
    this.#connections = {
      // Subscribes again by itself when it is back; a subscription may wait for that as long as it takes.
      subConn: redis.connect("mqtt-qos-0-in", { maxRetriesPerRequest: null, commandTimeout: undefined }),
      pubConn: redis.connect("mqtt-qos-0-out", {
        ...FAIL_FAST,
        enableAutoPipelining: true,
        commandTimeout: 5_000,
      }),
    };
    // Its types know no cluster, though it works with one.
    const connections: object = this.#connections;
    this.#emitter = MQEmitterRedis(connections);
    const state: unknown = "state" in this.#emitter ? this.#emitter.state : undefined;
    if (!(state instanceof EventEmitter)) throw new TypeError("this mqemitter-redis has no state to listen to");
    state.on("error", (error: unknown) => logger.debug({ err: error }, "messages of QoS 0 reach no node"));
  }

  /** From now on the messages of other nodes come. */
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
        this.#options.logger.warn({ err: error }, "a message of another node cannot be read");
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
