import { EVENT_BYTES, openFanOut, SINGLE_INTERVAL_MS, WARM_UP_SECONDS } from "./fan-out.ts";
import { FIRST_NUMBER } from "./load/event.ts";
import type { Generator } from "./load/generator.ts";
import { type BenchOptions, onServer, type Row, type Sample } from "./row.ts";
import type { EventServer } from "./servers/server.ts";
import { startSkylapse } from "./servers/skylapse.ts";

const MISSED = 100_000;
/** Number of backfills: one backfill is too short for a 99th percentile. */
const TIMES = 4;
const LIVE_PER_SECOND = 500;

export const catchUp: Row = {
  name: "catch-up",
  title: "a dashboard that was away for 100,000 events catches up",
  method: ({ seconds }) =>
    `Events of ${EVENT_BYTES} B, each checked to be the next one, ${TIMES} times from the same place. Meanwhile ${LIVE_PER_SECOND} events a second go to a live dashboard in\n` +
    `another process; without: the ${seconds} s before.`,
  figures: [
    { key: "perSecond", label: "events per second", unit: "/s", target: { atLeast: 50_000 } },
    { key: "p99Without", label: "p99 of the live dashboard without", unit: "ms" },
    { key: "p99With", label: "p99 of the live dashboard meanwhile", unit: "ms" },
    { key: "delay", label: "p99 delayed by", unit: "ms", target: { atMost: 50 } },
  ],
  sides: (options) => [
    {
      name: "Skylapse",
      measure: () =>
        onServer(
          () => startSkylapse({ ...options, env: { RETENTION_EVENTS: String(3 * MISSED) } }),
          async (server, newGenerator) => measure(server, await newGenerator(), await newGenerator(), options),
        ),
    },
  ],
};

async function measure(
  server: EventServer,
  live: Generator,
  away: Generator,
  { seconds }: BenchOptions,
): Promise<Sample> {
  const { dialect, port } = server;
  await openFanOut(server, live, { dashboards: 1, keepPlaces: true });
  await live.call("publishSingly", { everyMs: SINGLE_INTERVAL_MS, seconds: WARM_UP_SECONDS });
  const since = await live.call("places");
  const first = await live.call("nextNumber");
  await live.call("publishAll", { count: MISSED });
  await live.call("reached", { deliveries: first + MISSED - FIRST_NUMBER });

  const p99Without = await p99During(live, () => live.call("publishPaced", { perSecond: LIVE_PER_SECOND, seconds }));
  const missed = (await live.call("nextNumber")) - first;
  let deliveries = 0;
  let catchingUp = 0;
  const p99With = await p99During(live, async () => {
    const feeding = live.call("publishPaced", { perSecond: LIVE_PER_SECOND });
    for (let time = 0; time < TIMES; time++) {
      const tokens = server.tokens(1);
      const caughtUp = await away.call("resumeDashboards", { dialect, port, tokens, since, first, missed });
      deliveries += caughtUp.deliveries;
      catchingUp += caughtUp.seconds;
      await away.call("destroyDashboards");
    }
    await live.call("stopPacing");
    await feeding;
  });
  const perSecond = deliveries / catchingUp;
  return { perSecond, p99Without, p99With, delay: p99With - p99Without };
}

async function p99During(live: Generator, work: () => Promise<unknown>): Promise<number> {
  await live.call("startLatencies");
  await work();
  await live.call("reached", { deliveries: (await live.call("nextNumber")) - FIRST_NUMBER });
  return (await live.call("takeLatencies")).p99Ms;
}
