import type { Cluster, Redis } from "ioredis";
import type { Logger } from "pino";
import { z } from "zod";
import type { RedisConnections } from "../../../platform/redis/connections.ts";
import type { Json } from "../cluster.ts";
import type { Link } from "./link.ts";
import { PUBLISH } from "./scripts.ts";

const noticeSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("signal"), from: z.string(), name: z.string(), message: z.json() }),
  z.object({ kind: z.literal("document"), collection: z.string(), key: z.string() }),
  /** The sender could not publish an earlier notice. */
  z.object({ kind: z.literal("missed"), from: z.string() }),
]);
/** A message between nodes. */
export type Notice =
  | { kind: "signal"; from: string; name: string; message: Json }
  | { kind: "document"; collection: string; key: string }
  | { kind: "missed"; from: string };

const RETRY_MS = 500;

interface BusOptions {
  redis: RedisConnections;
  link: Link;
  onNotice: (notice: Notice) => void;
  /** Called when notices may have been missed. */
  onMissed: () => void;
  logger: Logger;
}

/**
 * Notices from each node to all nodes, by Redis' publish and subscribe. Redis stores nothing for a disconnected
 * subscriber, so the notices of all nodes are numbered consecutively. Notices were missed when a number is missing, or
 * when the count in Redis is above the last received number.
 */
export class Bus {
  readonly channel: string;
  readonly count: string;
  readonly #options: BusOptions;
  readonly #subscriber: Redis | Cluster;
  /** The highest number of a received notice; undefined while not subscribed. */
  #received: number | undefined;
  /** The count in Redis and the highest received number, at the last comparison. */
  #lastComparison = { count: 0, received: 0 };
  #subscribedOnce = false;
  #missed: NodeJS.Immediate | undefined;
  #stopped = false;
  #onSubscribed: (() => void) | undefined;

  constructor(options: BusOptions) {
    this.#options = options;
    this.channel = options.link.key("notices");
    this.count = options.link.key("notice-count");
    this.#subscriber = options.redis.connect("cluster-notices", { autoResubscribe: false });
  }

  /** Resolves once the subscription exists. */
  start(): Promise<void> {
    this.#subscriber.on("message", (_channel: string, text: string) => this.#receive(text));
    this.#subscriber.on("close", () => {
      this.#received = undefined;
    });
    const subscribed = new Promise<void>((resolve) => {
      this.#onSubscribed = resolve;
    });
    this.#subscriber.on("ready", () => void this.#subscribe());
    if (this.#subscriber.status === "ready") void this.#subscribe();
    return subscribed;
  }

  /** @throws {StoreUnavailableError} */
  async publish(notice: Notice): Promise<void> {
    const text = JSON.stringify(notice);
    await this.#options.link.do((redis) => PUBLISH.runInOrder(redis, [this.count], [this.channel, text]));
  }

  /** All notices up to the `count` of the previous call should have arrived by now. */
  compare(count: number): void {
    const before = this.#lastComparison;
    this.#lastComparison = { count, received: this.#received ?? 0 };
    if (this.#received === undefined) return;
    if (count < before.count || count < before.received) {
      // Redis was emptied, or failed over to a replica that lacked the newest writes.
      this.#received = Math.min(this.#received, count);
      this.missed();
    } else if (this.#received < before.count) {
      // The connection is open but delivers nothing.
      this.#subscriber.disconnect(true);
      this.missed();
    }
  }

  /** Reports missed notices, once per turn of the event loop. */
  missed(): void {
    this.#missed ??= setImmediate(() => {
      this.#missed = undefined;
      if (!this.#stopped) this.#options.onMissed();
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#subscriber.disconnect();
  }

  async #subscribe(): Promise<void> {
    try {
      await this.#subscriber.subscribe(this.channel);
      const count = await this.#options.link.do((redis) => redis.get(this.count));
      // Notices between SUBSCRIBE and GET may already have been received.
      this.#received = Math.max(this.#received ?? 0, Number(count ?? 0));
      if (this.#subscribedOnce) this.missed();
      this.#subscribedOnce = true;
      this.#onSubscribed?.();
    } catch (error) {
      if (this.#stopped) return;
      this.#options.logger.debug({ err: error }, "subscription failed, retrying");
      // If the connection is not ready by then, its next `ready` event subscribes.
      setTimeout(() => {
        if (this.#subscriber.status === "ready" && !this.#stopped) void this.#subscribe();
      }, RETRY_MS).unref();
    }
  }

  #receive(text: string): void {
    const end = text.indexOf("\n");
    const number = Number(text.slice(0, end));
    if (this.#received !== undefined && number > this.#received + 1) this.missed();
    this.#received = Math.max(this.#received ?? 0, number);
    const notice = parseNotice(text.slice(end + 1));
    if (notice === undefined) this.#options.logger.warn("notice of another node is invalid");
    else this.#options.onNotice(notice);
  }
}

function parseNotice(text: string): Notice | undefined {
  try {
    return noticeSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
