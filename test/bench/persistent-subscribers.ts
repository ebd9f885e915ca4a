import { costOfStream } from "./mqtt-fan-out.ts";
import type { BenchOptions, Figure, Row, Sample } from "./row.ts";
import { onStore, STORES, type Store } from "./stores.ts";

const SUBSCRIBERS = 10;

export const persistentSubscribers: Row = {
  name: "persistent-subscribers",
  title: `one MQTT publisher to ${SUBSCRIBERS} connected subscribers with persistent sessions, and with clean ones`,
  method: ({ seconds }) =>
    `As \`mqtt-fan-out\`, with QoS 1 for ${seconds} s. The cost of a delivery includes a tenth of the publication's.`,
  figures: STORES.flatMap((store): Figure[] => [
    { key: `cpu${store}`, label: `server CPU per delivery, ${store}`, unit: "µs", target: { ratioAtMost: 2 } },
    { key: `perSecond${store}`, label: "  deliveries per second", unit: "/s" },
    ...(store === "Redis" ? [{ key: "redisMicros", label: "  redis-server CPU per delivery", unit: "µs" }] : []),
  ]),
  sides: (options) => [
    { name: "persistent", measure: () => measure(false, options) },
    { name: "clean", measure: () => measure(true, options) },
  ],
};

async function measure(clean: boolean, options: BenchOptions): Promise<Sample> {
  const sample: Record<string, number> = {};
  for (const store of STORES) {
    const {
      cpuMicros = Number.NaN,
      perSecond = Number.NaN,
      redisMicros = Number.NaN,
    } = await cost(store, clean, options);
    sample[`cpu${store}`] = cpuMicros;
    sample[`perSecond${store}`] = perSecond;
    if (store === "Redis") sample.redisMicros = redisMicros;
  }
  return sample;
}

function cost(store: Store, clean: boolean, options: BenchOptions): Promise<Sample> {
  return onStore(store, options, {}, async (server, newGenerator, redisCpuSeconds) => {
    const logins = Array.from({ length: SUBSCRIBERS }, (_, index) => ({ ...server.login(`reader-${index}`), clean }));
    return costOfStream(server, await newGenerator(), { qos: 1, logins }, options, redisCpuSeconds);
  });
}
