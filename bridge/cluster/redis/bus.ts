import type { Cluster, Redis } from "ioredis";
import type { Logger } from "pino";
import { z } from "zod";
import type { RedisConnections } from "../../../platform/redis/connections.ts";
import type { Json } from "../cluster.ts";
import type { Link } from "./link.ts";

const noticeSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("signal"), from: z.string(), name: z.string(), message: z.json() }),
  z.object({ kind: z.literal("document"), collection: z.string(), key: z.string() }),
  /** A node could not say something that the others should have heard. */
  z.object({ kind: z.literal("missed"), from: z.string() }),
]);
/** What nodes tell each other. */
export type Notice =
  | { kind: "signal"; from: string; name: string; message: Json }
  | { kind: "document"; collection: string; key: string }
  | { kind: "missed"; from: string };

/** Numbers and publishes a notice: KEYS count; ARGV channel, notice. For use within other scripts, too. */
export const PUBLISH = "redis.call('PUBLISH', channel, redis.call('INCR', count) .. '\\n' .. notice)";

/**
 * Sent whole each time: by its name it would have to be sent again where Redis does not know it, and what was sent
 * meanwhile would overtake it.
 */
const publishScript = `
local count, channel, notice = KEYS[1], ARGV[1], ARGV[2]
${PUBLISH}
`;

const RETRY_MS = 500;

export interface BusOptions {
  redis: RedisConnections;
  link: Link;
  onNotice: (notice: Notice) => void;
  /** Notices may have been missed. */
  onMissed: () => void;
  logger: Logger;
}

/**
 * Notices from each node to all, by Redis' publish and subscribe. That keeps nothing for a subscriber whose connection
 * is cut, and does not tell it either. So every notice has a number, one more than the one before, whoever sent it: a
 * hole in the numbers, or a count that has run ahead of them, shows that something was missed.
 */
export class Bus {
  readonly channel: string;
  readonly count: string;
  readonly #link: Link;
  readonly #onNotice: (notice: Notice) => void;
  readonly #onMissed: () => void;
  readonly #logger: Logger;
  readonly #subscriber: Redis | Cluster;
  /** The number of the last notice that was heard; undefined while not subscribed. */
  #heard: number | undefined;
  /** The count and what was heard, at the last comparison. */
  #compared = { count: 0, heard: 0 };
  #subscribedOnce = false;
  #missed: NodeJS.Immediate | undefined;
  #stopped = false;
  #onSubscribed: (() => void) | undefined;

  constructor({ redis, link, onNotice, onMissed, logger }: BusOptions) {
    this.#link = link;
    this.#onNotice = onNotice;
    this.#onMissed = onMissed;
    this.#logger = logger;
    this.channel = link.key("notices");
    this.count = link.key("notice-count");
    this.#subscriber = redis.connect("cluster-notices", { autoResubscribe: false });
  }

  /** Resolves once it is subscribed. */
  start(): Promise<void> {
    this.#subscriber.on("message", (_channel: string, text: string) => this.#receive(text));
    this.#subscriber.on("close", () => {
      this.#heard = undefined;
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
    await this.#link.do((redis) => redis.eval(publishScript, 1, this.count, this.channel, text));
  }

  /**
   * Compares what was heard with how many notices there were.
   * @param count as of now; that of the last call must have been heard by now
   */
  compare(count: number): void {
    const before = this.#compared;
    this.#compared = { count, heard: this.#heard ?? 0 };
    if (this.#heard === undefined) return;
    if (count < before.count || count < before.heard) {
      // Redis was emptied, or a replica took over that had not seen everything.
      this.#heard = Math.min(this.#heard, count);
      this.missed();
    } else if (this.#heard < before.count) {
      // A connection that brings nothing is no better than none.
      this.#subscriber.disconnect(true);
      this.missed();
    }
  }

  /** Once, however many reasons there are in this turn of the event loop. */
  missed(): void {
    this.#missed ??= setImmediate(() => {
      this.#missed = undefined;
      if (!this.#stopped) this.#onMissed();
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#subscriber.disconnect();
  }

  async #subscribe(): Promise<void> {
    try {
      await this.#subscriber.subscribe(this.channel);
      const count = await this.#link.do((redis) => redis.get(this.count));
      // What comes between the two is heard already.
      this.#heard = Math.max(this.#heard ?? 0, Number(count ?? 0));
      if (this.#subscribedOnce) this.missed();
      this.#subscribedOnce = true;
      this.#onSubscribed?.();
    } catch (error) {
      if (this.#stopped) return;
      this.#logger.debug({ err: error }, "not subscribed, trying again");
      // One that is not ready says so when it is.
      setTimeout(() => {
        if (this.#subscriber.status === "ready" && !this.#stopped) void this.#subscribe();
      }, RETRY_MS).unref();
    }
  }

  #receive(text: string): void {
    const end = text.indexOf("\n");
    const number = Number(text.slice(0, end));
    if (this.#heard !== undefined && number > this.#heard + 1) this.missed();
    this.#heard = Math.max(this.#heard ?? 0, number);
    const notice = parseNotice(text.slice(end + 1));
    if (notice === undefined) this.#logger.warn("a notice of another node cannot be understood");
    else this.#onNotice(notice);
  }
}

function parseNotice(text: string): Notice | undefined {
  try {
    return noticeSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
