import { FIRST_NUMBER } from "./load/event.ts";
import type { Generator } from "./load/generator.ts";
import { type BenchOptions, costOf, type Row, type Sample } from "./row.ts";
import { benchTopic } from "./servers/skylapse.ts";
import { onStore, STORES, type Store } from "./stores.ts";

const BEHIND = 10_000;
const CROWD = 900;
const CROWD_BEHIND = 100;
const PAYLOAD_BYTES = 300;
const LIVE_PER_SECOND = 500;
/** For each session. */
const CROWD_LIVE_PER_SECOND = 2;
/** No session loses messages, and no connection is cut that waits for its turn among 900. */
const NO_LIMITS = { MAX_OFFLINE_MESSAGES: "0", MAX_OFFLINE_BYTES: "0", MQTT_CONNECT_TIMEOUT_MS: "60000" };

export const sessionBehind: Row = {
  name: "session-behind",
  title: `a session that is ${BEHIND.toLocaleString("en")} messages behind, and ${CROWD} sessions that return at once`,
  method: ({ seconds }) =>
    `Messages of ${PAYLOAD_BYTES} B with QoS 1, each checked to be the next one, from CONNECT to the last one that was missed.\n` +
    `Meanwhile ${LIVE_PER_SECOND} messages a second go to a clean session in another process; without: the ${seconds} s before. Each of the\n` +
    `${CROWD} sessions is ${CROWD_BEHIND} behind, and ${CROWD_LIVE_PER_SECOND} messages a second go on.`,
  figures: [
    {
      key: "seconds",
      label: `time until all ${BEHIND.toLocaleString("en")} have arrived`,
      unit: "s",
      target: { atMost: 3 },
    },
    { key: "cpuMicros", label: "server CPU per delivery, meanwhile", unit: "µs" },
    { key: "redisMicros", label: "redis-server CPU per delivery", unit: "µs" },
    { key: "p99Without", label: "p99 of the clean session without", unit: "ms" },
    { key: "p99With", label: "p99 of the clean session meanwhile", unit: "ms" },
    { key: "crowdSeconds", label: `time until ${CROWD} sessions have all`, unit: "s" },
    { key: "crowdCpuMicros", label: "server CPU per delivery to them", unit: "µs" },
  ],
  sides: (options) =>
    STORES.map((name) => ({
      name,
      measure: async () => ({ ...(await one(name, options)), ...(await crowd(name, options)) }),
    })),
};

function one(store: Store, options: BenchOptions): Promise<Sample> {
  return onStore(store, options, NO_LIMITS, async (server, newGenerator, redisCpuSeconds) => {
    const live = await newGenerator();
    const away = await newGenerator();
    const subscription = { port: server.mqttPort, filter: benchTopic(), qos: 1 } as const;
    await live.call("openSubscribers", { ...subscription, logins: [server.login("live")], first: FIRST_NUMBER });
    await live.call("openFeed", server.feed(PAYLOAD_BYTES));
    const p99Without = await p99During(live, () =>
      live.call("publishPaced", { perSecond: LIVE_PER_SECOND, seconds: options.seconds }),
    );
    const logins = [{ ...server.login("away"), clean: false }];
    const first = await live.call("nextNumber");
    await away.call("openAwaySessions", { ...subscription, logins });
    await live.call("publishAll", { count: BEHIND });

    const redisBefore = redisCpuSeconds();
    let caughtUp = { seconds: Number.NaN };
    const { result: p99With, serverSeconds } = await costOf(server, away, () =>
      p99During(live, async () => {
        const resuming = away.call("resumeSessions", { ...subscription, logins, first, missed: BEHIND });
        caughtUp = await whilePublishing(live, LIVE_PER_SECOND, resuming);
      }),
    );
    const redisSeconds = redisCpuSeconds() - redisBefore;
    // What was published meanwhile arrives behind the messages that were missed.
    const published = (await live.call("nextNumber")) - first;
    await away.call("reached", { deliveries: published });
    const messages = published + (published - BEHIND);
    return {
      seconds: caughtUp.seconds,
      cpuMicros: (serverSeconds / messages) * 1e6,
      redisMicros: (redisSeconds / messages) * 1e6,
      p99Without,
      p99With,
    };
  });
}

function crowd(store: Store, options: BenchOptions): Promise<Sample> {
  return onStore(store, options, NO_LIMITS, async (server, newGenerator) => {
    const live = await newGenerator();
    const away = await newGenerator();
    const subscription = { port: server.mqttPort, filter: benchTopic(), qos: 1 } as const;
    const logins = Array.from({ length: CROWD }, (_, index) => ({ ...server.login(`away-${index}`), clean: false }));
    await away.call("openAwaySessions", { ...subscription, logins });
    await live.call("openFeed", server.feed(PAYLOAD_BYTES));
    await live.call("publishAll", { count: CROWD_BEHIND });
    const { result, serverSeconds } = await costOf(server, away, async () => {
      const behind = { first: FIRST_NUMBER, missed: CROWD_BEHIND };
      const resuming = away.call("resumeSessions", { ...subscription, logins, ...behind });
      const caughtUp = await whilePublishing(live, CROWD_LIVE_PER_SECOND, resuming);
      const published = (await live.call("nextNumber")) - FIRST_NUMBER;
      await away.call("reached", { deliveries: published * CROWD });
      return { seconds: caughtUp.seconds, deliveries: published * CROWD };
    });
    return { crowdSeconds: result.seconds, crowdCpuMicros: (serverSeconds / result.deliveries) * 1e6 };
  });
}

/** Publishes at an even rate until the work is done. */
async function whilePublishing<Result>(live: Generator, perSecond: number, work: Promise<Result>): Promise<Result> {
  const stop = () => live.call("stopPacing");
  const [result] = await Promise.all([work.finally(stop), live.call("publishPaced", { perSecond })]);
  return result;
}

async function p99During(live: Generator, work: () => Promise<unknown>): Promise<number> {
  await live.call("startLatencies");
  await work();
  await live.call("reached", { deliveries: (await live.call("nextNumber")) - FIRST_NUMBER });
  return (await live.call("takeLatencies")).p99Ms;
}
