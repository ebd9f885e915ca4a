import { FIRST_NUMBER } from "./load/event.ts";
import type { Generator } from "./load/generator.ts";
import type { Latencies } from "./load/tally.ts";
import { clockMicros } from "./process-cpu.ts";
import { type BenchOptions, onServer, type Row, type Sample } from "./row.ts";
import type { EventServer } from "./servers/server.ts";
import { startSkylapse } from "./servers/skylapse.ts";

const OTHERS = 20;
const PER_SECOND = 2000;
/** With this size, a few seconds of events exceed the socket buffers of the system. */
const EVENT_BYTES = 1200;

function pauseSeconds({ quick }: BenchOptions): number {
  return quick ? 5 : 20;
}

export const slowReader: Row = {
  name: "slow-reader",
  title: `a dashboard stops reading under ${PER_SECOND} events a second, beside ${OTHERS} others`,
  method: (options) =>
    `Events of ${EVENT_BYTES} B; it reads nothing for ${pauseSeconds(options)} s and then gets every event, in order. Without: as long before it.`,
  figures: [
    { key: "growthMb", label: "heap and buffers grow by", unit: "MB", target: { atMost: 5 } },
    { key: "growthWithoutMb", label: "heap and buffers grow by, without", unit: "MB" },
    { key: "p99Without", label: "p99 of the others without", unit: "ms" },
    { key: "p99With", label: "p99 of the others", unit: "ms" },
    { key: "p99Ratio", label: "p99 with to without", unit: "×", target: { atMost: 2 } },
    { key: "notices", label: "times it was told that it lags", unit: "" },
    { key: "recoverySeconds", label: "until it has all, once it reads", unit: "s" },
  ],
  sides: (options) => [
    {
      name: "Skylapse",
      measure: () =>
        onServer(
          () => startSkylapse({ ...options, env: { RETENTION_EVENTS: "200000" } }),
          async (server, newGenerator) => measure(server, await newGenerator(), await newGenerator(), options),
        ),
    },
  ],
};

async function measure(
  server: EventServer,
  others: Generator,
  slow: Generator,
  options: BenchOptions,
): Promise<Sample> {
  const { dialect, port } = server;
  const seconds = pauseSeconds(options);
  const tokens = server.tokens(OTHERS + 1);
  await others.call("openFeed", server.feed(EVENT_BYTES));
  await others.call("openDashboards", { dialect, port, tokens: tokens.slice(1), first: FIRST_NUMBER });
  await paced(others, 2);

  const before = await server.memory();
  const without = await paced(others, seconds);
  const between = await server.memory();

  const first = await others.call("nextNumber");
  await slow.call("openDashboards", { dialect, port, tokens: tokens.slice(0, 1), first });
  await slow.call("pauseDashboards");
  const withSlow = await paced(others, seconds);
  const after = await server.memory();

  const begin = clockMicros();
  await slow.call("resumeReading");
  await slow.call("reached", { deliveries: (await others.call("nextNumber")) - first });
  return {
    growthMb: (after.used - between.used) / 1e6,
    growthWithoutMb: (between.used - before.used) / 1e6,
    p99Without: without.p99Ms,
    p99With: withSlow.p99Ms,
    p99Ratio: withSlow.p99Ms / without.p99Ms,
    notices: await slow.call("laggingNotices"),
    recoverySeconds: (clockMicros() - begin) / 1e6,
  };
}

async function paced(others: Generator, seconds: number): Promise<Latencies> {
  await others.call("startLatencies");
  await others.call("publishPaced", { perSecond: PER_SECOND, seconds });
  await others.call("reached", { deliveries: ((await others.call("nextNumber")) - FIRST_NUMBER) * OTHERS });
  return others.call("takeLatencies");
}
