import { ingestCost } from "./ingest-qos1.ts";
import type { BenchOptions, Figure, Row, Sample } from "./row.ts";
import { onStore, STORES, type Store } from "./stores.ts";

const SESSIONS = [0, 1, 900] as const;
const PAYLOADS = [300, 4096] as const;
/** Unacknowledged messages of each of the 10 publishers. */
const IN_FLIGHT = 5;
const FILTER = "skylapse/v1/cameras/#";

export const awaySessions: Row = {
  name: "away-sessions",
  title: "QoS 1 in, with 0, 1 and 900 sessions whose clients are away",
  method: ({ seconds }) =>
    `10 publishers with ${IN_FLIGHT} messages in flight each, for ${seconds} s. Each session has subscribed to ${FILTER} with QoS 1.\n` +
    "A session that has 10,000 messages behind it loses the oldest.",
  figures: PAYLOADS.flatMap((bytes) =>
    SESSIONS.flatMap((sessions): Figure[] => [
      { key: key("cpu", bytes, sessions), label: `server CPU per message of ${bytes} B, ${sessions} away`, unit: "µs" },
      { key: key("redis", bytes, sessions), label: "  redis-server CPU", unit: "µs" },
      { key: key("perSecond", bytes, sessions), label: "  messages per second", unit: "/s" },
      ...(sessions === 0 ? [] : [ratio(bytes, sessions)]),
    ]),
  ),
  sides: (options) => STORES.map((name) => ({ name, measure: () => measure(name, options) })),
};

function ratio(bytes: number, sessions: number): Figure {
  const target = { atMost: sessions === 1 ? 1.15 : 1.5 };
  return { key: key("ratio", bytes, sessions), label: "  CPU of both, to none away", unit: "×", target };
}

function key(what: string, bytes: number, sessions: number): string {
  return `${what}${bytes}b${sessions}`;
}

async function measure(store: Store, options: BenchOptions): Promise<Sample> {
  const sample: Record<string, number> = {};
  for (const bytes of PAYLOADS) {
    let none = Number.NaN;
    for (const sessions of SESSIONS) {
      const { cpu = Number.NaN, redis = 0, perSecond = Number.NaN } = await cost(store, bytes, sessions, options);
      if (sessions === 0) none = cpu + redis;
      sample[key("cpu", bytes, sessions)] = cpu;
      sample[key("redis", bytes, sessions)] = redis;
      sample[key("perSecond", bytes, sessions)] = perSecond;
      sample[key("ratio", bytes, sessions)] = (cpu + redis) / none;
    }
  }
  return sample;
}

function cost(store: Store, payloadBytes: number, sessions: number, options: BenchOptions): Promise<Sample> {
  return onStore(store, options, {}, async (server, newGenerator, redisCpuSeconds) => {
    const generator = await newGenerator();
    await generator.call("openAwaySessions", {
      port: server.mqttPort,
      filter: FILTER,
      qos: 1,
      logins: Array.from({ length: sessions }, (_, index) => server.login(`away-${index}`)),
    });
    const load = { payloadBytes, inFlight: IN_FLIGHT };
    const { messages, redisSeconds, sample } = await ingestCost(server, generator, options, redisCpuSeconds, load);
    const { cpuMicros = Number.NaN, perSecond = Number.NaN } = sample;
    return { cpu: cpuMicros, redis: (redisSeconds / messages) * 1e6, perSecond };
  });
}
