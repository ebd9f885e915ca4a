import { setTimeout as sleep } from "node:timers/promises";
import { clockMicros } from "../process-cpu.ts";
import { Dashboards, type DashboardsOptions } from "./dashboards.ts";
import type { Place } from "./dialect.ts";
import { type Feed, publishAll, publishPaced } from "./feed.ts";
import { Ingest, type IngestOptions } from "./ingest.ts";
import { type MqttFeedOptions, openMqttFeed } from "./mqtt-feed.ts";
import { openSocketIoFeed } from "./socket-io-feed.ts";
import { openAwaySessions, openSubscribers, type SubscribersOptions } from "./subscribers.ts";
import type { Latencies, Tally } from "./tally.ts";

export type FeedOptions =
  | ({ kind: "mqtt" } & MqttFeedOptions)
  | { kind: "socket-io"; port: number; payloadBytes: number };

export interface Delivered {
  events: number;
  deliveries: number;
  seconds: number;
}

/** The parts of a load generator, kept between calls. A call throws if its part is not open. */
let dashboards: Dashboards | undefined;
let receivers: Tally | undefined;
let feed: Feed | undefined;
let ingest: Ingest | undefined;
let pacing: AbortController | undefined;

/** The main process of the benchmark makes these calls by name. */
const calls = {
  async openDashboards(options: DashboardsOptions): Promise<void> {
    dashboards = new Dashboards(options);
    receivers = dashboards.tally;
    await dashboards.open();
  },

  /** Opens all lagging dashboards at once. Resolves when each dashboard has its missed events. */
  async resumeDashboards(options: DashboardsOptions & { missed: number }): Promise<Delivered> {
    const begin = clockMicros();
    await calls.openDashboards(options);
    const deliveries = options.missed * options.tokens.length;
    await needed(receivers, "dashboards").reached(deliveries, 240_000);
    return { events: options.missed, deliveries, seconds: (clockMicros() - begin) / 1e6 };
  },

  async places(): Promise<Place[]> {
    return needed(dashboards, "dashboards").places();
  },

  async destroyDashboards(): Promise<void> {
    needed(dashboards, "dashboards").destroy();
  },

  async pauseDashboards(): Promise<void> {
    needed(dashboards, "dashboards").pause();
  },

  async resumeReading(): Promise<void> {
    needed(dashboards, "dashboards").resume();
  },

  async laggingNotices(): Promise<number> {
    return needed(dashboards, "dashboards").laggingNotices;
  },

  async openSubscribers(options: SubscribersOptions): Promise<void> {
    receivers = await openSubscribers(options);
  },

  async openAwaySessions(options: Omit<SubscribersOptions, "first">): Promise<void> {
    await openAwaySessions(options);
  },

  /** Connects to all sessions at once. Resolves when each has everything that it has missed. */
  async resumeSessions(options: SubscribersOptions & { missed: number }): Promise<Delivered> {
    const begin = clockMicros();
    await calls.openSubscribers({ ...options, isSubscribed: true });
    const deliveries = options.missed * options.logins.length;
    await needed(receivers, "receivers").reached(deliveries, 240_000);
    return { events: options.missed, deliveries, seconds: (clockMicros() - begin) / 1e6 };
  },

  async openFeed(options: FeedOptions): Promise<void> {
    feed = options.kind === "mqtt" ? await openMqttFeed(options) : await openSocketIoFeed(options);
  },

  /**
   * Publishes single events for the given time. Each event waits for all receivers of the last event and for the
   * interval.
   */
  async publishSingly({ everyMs, seconds }: { everyMs: number; seconds: number }): Promise<Delivered> {
    return publishing(seconds, async (publish) => {
      const interval = sleep(everyMs);
      await publish(1, 0);
      await interval;
    });
  },

  /** Publishes bursts back to back for the given time, at most `window` events ahead of the receivers. */
  async publishBursts({
    size,
    window,
    seconds,
  }: {
    size: number;
    window: number;
    seconds: number;
  }): Promise<Delivered> {
    return publishing(seconds, (publish) => publish(size, window - size));
  },

  /** Publishes as fast as acknowledgements arrive, independent of deliveries. */
  async publishAll({ count }: { count: number }): Promise<void> {
    await publishAll(needed(feed, "feed"), count);
  },

  /** Publishes at an even rate for the given time or until {@link calls.stopPacing}. */
  async publishPaced({ perSecond, seconds }: { perSecond: number; seconds?: number }): Promise<void> {
    const until = new AbortController();
    pacing = until;
    // Not AbortSignal.timeout: Node 20 may garbage-collect it before it fires, and the call would never end.
    const timer = seconds === undefined ? undefined : setTimeout(() => until.abort(), seconds * 1000);
    await publishPaced(needed(feed, "feed"), perSecond, until.signal);
    clearTimeout(timer);
  },

  async stopPacing(): Promise<void> {
    needed(pacing, "pacing").abort();
  },

  /** The number of the feed's next event. */
  async nextNumber(): Promise<number> {
    return needed(feed, "feed").next;
  },

  async received(): Promise<number> {
    return needed(receivers, "receivers").total;
  },

  async reached({ deliveries }: { deliveries: number }): Promise<void> {
    await needed(receivers, "receivers").reached(deliveries);
  },

  async startLatencies(): Promise<void> {
    needed(receivers, "receivers").startLatencies();
  },

  async takeLatencies(): Promise<Latencies> {
    return needed(receivers, "receivers").takeLatencies();
  },

  async startIngest(options: IngestOptions): Promise<void> {
    ingest = new Ingest();
    await ingest.open(options);
    ingest.start(options.inFlight);
  },

  async acknowledged(): Promise<{ count: number; micros: number }> {
    return { count: needed(ingest, "ingest").acknowledged, micros: clockMicros() };
  },

  async stopIngest(): Promise<void> {
    await needed(ingest, "ingest").stop();
  },
};

export type Calls = typeof calls;

/**
 * Repeats a step for the given time, then waits for outstanding deliveries. A step publishes several events.
 * Each step waits until no receiver lacks more than `ahead` events.
 */
async function publishing(
  seconds: number,
  step: (publish: (count: number, ahead: number) => Promise<void>) => Promise<void>,
): Promise<Delivered> {
  const tally = needed(receivers, "receivers");
  const begin = clockMicros();
  const before = tally.total;
  let events = 0;
  const publish = async (count: number, ahead: number) => {
    needed(feed, "feed").publish(count);
    events += count;
    await tally.reached(before + (events - ahead) * tally.receivers);
  };
  while (clockMicros() - begin < seconds * 1e6) await step(publish);
  await tally.reached(before + events * tally.receivers);
  return { events, deliveries: tally.total - before, seconds: (clockMicros() - begin) / 1e6 };
}

export interface Request {
  id: number;
  name: keyof Calls;
  /** Not checked: `Generator.call` sends the request, and its types ensure the correct argument. */
  argument: never;
}

export type Reply = { id: number; error: string } | { id: number; error?: undefined; result: never };

function needed<Part>(part: Part | undefined, name: string): Part {
  if (part === undefined) throw new Error(`the load generator has no ${name} yet`);
  return part;
}

process.on("message", async (text: string) => {
  const { id, name, argument }: Request = JSON.parse(text);
  try {
    process.send?.(JSON.stringify({ id, result: await calls[name](argument) }));
  } catch (error) {
    process.send?.(JSON.stringify({ id, error: error instanceof Error ? `${error.message}` : String(error) }));
  }
});
// Without the main process, there is no work.
process.on("disconnect", () => process.exit());
