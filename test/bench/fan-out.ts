import { FIRST_NUMBER } from "./load/event.ts";
import type { Generator } from "./load/generator.ts";
import type { Delivered } from "./load/worker.ts";
import { type Cost, costOf, type Sample } from "./row.ts";
import type { EventServer } from "./servers/server.ts";

/** Warm-up before the measurement, so that the server's code is compiled. */
export const WARM_UP_SECONDS = 2;

/** An event in its envelope, with some 400 bytes of `data`. */
export const EVENT_BYTES = 550;

export const SINGLE_INTERVAL_MS = 20;

export interface FanOutOptions {
  dashboards: number;
  /** Whether the dashboards keep their positions. Default false. */
  keepPlaces?: boolean;
}

/** Opens the publisher and a number of dashboards. */
export async function openFanOut(
  server: EventServer,
  generator: Generator,
  { dashboards, keepPlaces = false }: FanOutOptions,
): Promise<void> {
  await generator.call("openFeed", server.feed(EVENT_BYTES));
  await generator.call("openDashboards", {
    dialect: server.dialect,
    port: server.port,
    tokens: server.tokens(dashboards),
    first: FIRST_NUMBER,
    keepPlaces,
  });
}

/** The cost of events that are published one at a time to a number of dashboards, after a warm-up. */
export async function costOfSingles(
  server: EventServer,
  generator: Generator,
  { dashboards, seconds }: { dashboards: number; seconds: number },
): Promise<Sample> {
  await openFanOut(server, generator, { dashboards });
  const everyMs = SINGLE_INTERVAL_MS;
  // Publishes bursts: the engine compiles the code after many events, which would take minutes with single events.
  await generator.call("publishBursts", { size: 20, window: 40, seconds: WARM_UP_SECONDS });
  await generator.call("publishSingly", { everyMs, seconds: 1 });
  return perDelivery(await costOf(server, generator, () => generator.call("publishSingly", { everyMs, seconds })));
}

/** Deliveries a second, and the cost of each. */
export function perDelivery({ result, serverSeconds, generatorSeconds }: Cost<Delivered>): Sample {
  const { deliveries, seconds } = result;
  return {
    cpuMicros: (serverSeconds / deliveries) * 1e6,
    perSecond: deliveries / seconds,
    generatorMicros: (generatorSeconds / deliveries) * 1e6,
    perCpuSecond: deliveries / serverSeconds,
    serverLoad: (serverSeconds / seconds) * 100,
  };
}

export const FAIRNESS =
  "Ours takes the events by MQTT QoS 1 and has them on disk before anybody sees them; Socket.IO is handed them over a\n" +
  "bare TCP socket and emits them to a room. Same lean WebSocket clients on both, every delivery counted and in order.";
