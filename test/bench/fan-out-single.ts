import { costOfSingles, EVENT_BYTES, FAIRNESS, SINGLE_INTERVAL_MS } from "./fan-out.ts";
import { type BenchOptions, onServer, type Row, type Sample } from "./row.ts";
import type { EventServer } from "./servers/server.ts";
import { startSkylapse } from "./servers/skylapse.ts";
import { startSocketIo } from "./servers/socket-io.ts";

const DASHBOARDS = 1000;

export const fanOutSingle: Row = {
  name: "fan-out-single",
  title: "one event at a time to 1,000 dashboards",
  method: ({ seconds }) =>
    `Events of ${EVENT_BYTES} B, each sent when all dashboards have the last and ${SINGLE_INTERVAL_MS} ms are over, for ${seconds} s: the same\n` +
    `rate on both, for a server that is busier has warmer caches.\n${FAIRNESS}`,
  figures: [
    { key: "cpuMicros", label: "server CPU per delivery", unit: "µs", target: { ratioAtMost: 0.6 } },
    { key: "perSecond", label: "deliveries per second", unit: "/s" },
    { key: "serverLoad", label: "server CPU", unit: "%" },
    { key: "generatorMicros", label: "load generator CPU per delivery", unit: "µs" },
  ],
  sides: (options) => [
    { name: "Skylapse", measure: () => measure(() => startSkylapse(options), options) },
    { name: "Socket.IO", measure: () => measure(() => startSocketIo(options), options) },
  ],
};

function measure(start: () => Promise<EventServer>, { seconds }: BenchOptions): Promise<Sample> {
  return onServer(start, async (server, newGenerator) =>
    costOfSingles(server, await newGenerator(), { dashboards: DASHBOARDS, seconds }),
  );
}
