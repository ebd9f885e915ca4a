import type { Logger } from "pino";
import { z } from "zod";
import type { Subscriber } from "../../../platform/redis/subscriber.ts";
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
  readonly #subscriber: Subscriber;
  /** The highest number of a received notice; undefined while not subscribed. */
  #received: number | undefined;
  /** The count in Redis and the highest received number, at the last comparison. */
  #lastComparison = { count: 0, received: 0 };
  #subscribedOnce = false;
  #missed: NodeJS.Immediate | undefined;
  #stopped = false;
  #end = () => {};

  constructor(options: BusOptions) {
    this.#options = options;
    this.channel = options.link.key("notices");
    this.count = options.link.key("notice-count");
    this.#subscriber = options.link.redis.subscriber;
  }

  /** Resolves once the subscription exists. */
  start(): Promise<void> {
    return new Promise((resolve) => {
      this.#end = this.#subscriber.subscribe(this.channel, {
        onMessage: (message) => this.#receive(message.toString()),
        onSubscribed: () => void this.#subscribed().then(resolve, () => this.#retry()),
      });
    });
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
    if (this.#received === undefined || !this.#subscriber.isSubscribed) return;
    if (count < before.count || count < before.received) {
      // Redis was emptied, or failed over to a replica that lacked the newest writes.
      this.#received = Math.min(this.#received, count);
      this.missed();
    } else if (this.#received < before.count) {
      // The connection is open but delivers nothing.
      this.#subscriber.interrupt();
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
    this.#end();
  }

  /** @throws {StoreUnavailableError} */
  async #subscribed(): Promise<void> {
    this.#received = undefined;
    const count = await this.#options.link.do((redis) => redis.get(this.count));
    // Notices between SUBSCRIBE and GET may already have been received.
    this.#received = Math.max(this.#received ?? 0, Number(count ?? 0));
    if (this.#subscribedOnce) this.missed();
    this.#subscribedOnce = true;
  }

  /** Subscribes again. */
  #retry(): void {
    setTimeout(() => {
      if (!this.#stopped) this.#subscriber.interrupt();
    }, RETRY_MS).unref();
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
