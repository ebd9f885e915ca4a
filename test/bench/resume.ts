import { EVENT_BYTES, openFanOut, SINGLE_INTERVAL_MS, WARM_UP_SECONDS } from "./fan-out.ts";
import { costOf, onServer, type Row, type Sample, sleep } from "./row.ts";
import type { EventServer } from "./servers/server.ts";
import { startSkylapse } from "./servers/skylapse.ts";
import { startSocketIo } from "./servers/socket-io.ts";

const DASHBOARDS = 1000;
const MISSED = 1000;

export const resume: Row = {
  name: "resume",
  title: "1,000 dashboards resume at once, 1,000 events behind each",
  method: () =>
    `Events of ${EVENT_BYTES} B. The clock runs from the first connect until the last dashboard has its last missed event, a\n` +
    "million in all, each checked to be the next one. Ours reads its journal on disk; Socket.IO has connection-state\n" +
    "recovery on, in memory.",
  figures: [
    { key: "seconds", label: "until all have all", unit: "s", target: { ratioAtMost: 0.2 } },
    { key: "cpuMicros", label: "server CPU per event resumed", unit: "µs" },
    { key: "generatorMicros", label: "load generator CPU per event", unit: "µs" },
  ],
  sides: (options) => [
    { name: "Skylapse", measure: () => measure(() => startSkylapse(options)) },
    { name: "Socket.IO", measure: () => measure(() => startSocketIo({ ...options, recovery: true })) },
  ],
};

function measure(start: () => Promise<EventServer>): Promise<Sample> {
  return onServer(start, async (server, newGenerator) => {
    const generator = await newGenerator();
    await openFanOut(server, generator, { dashboards: DASHBOARDS, keepPlaces: true });
    await generator.call("publishSingly", { everyMs: SINGLE_INTERVAL_MS, seconds: WARM_UP_SECONDS });
    const since = await generator.call("places");
    const first = await generator.call("nextNumber");
    await generator.call("destroyDashboards");
    while ((await server.connections()) > 0) await sleep(0.05);
    await generator.call("publishAll", { count: MISSED });
    const { result, serverSeconds, generatorSeconds } = await costOf(server, generator, () =>
      generator.call("resumeDashboards", {
        dialect: server.dialect,
        port: server.port,
        tokens: server.tokens(DASHBOARDS),
        since,
        first,
        missed: MISSED,
      }),
    );
    return {
      seconds: result.seconds,
      cpuMicros: (serverSeconds / result.deliveries) * 1e6,
      generatorMicros: (generatorSeconds / result.deliveries) * 1e6,
    };
  });
}
