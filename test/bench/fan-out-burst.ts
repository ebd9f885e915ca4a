import { EVENT_BYTES, FAIRNESS, openFanOut, perDelivery, WARM_UP_SECONDS } from "./fan-out.ts";
import { type BenchOptions, costOf, onServer, type Row, type Sample } from "./row.ts";
import type { EventServer } from "./servers/server.ts";
import { startSkylapse } from "./servers/skylapse.ts";
import { startSocketIo } from "./servers/socket-io.ts";

const DASHBOARDS = 1000;
const BURST = 20;
/** Bursts in flight: enough so that the server never waits for the next burst. */
const BURSTS_UNDER_WAY = 5;

export const fanOutBurst: Row = {
  name: "fan-out-burst",
  title: "bursts of 20 events to 1,000 dashboards",
  method: ({ seconds }) =>
    `Events of ${EVENT_BYTES} B, bursts back to back for ${seconds} s, at most ${BURSTS_UNDER_WAY} of them not yet with all dashboards.\n${FAIRNESS}`,
  figures: [
    {
      key: "perCpuSecond",
      label: "deliveries per second of server CPU",
      unit: "/s",
      target: { ratioAtLeast: 10 },
    },
    { key: "perSecond", label: "deliveries per second", unit: "/s" },
    { key: "cpuMicros", label: "server CPU per delivery", unit: "µs" },
    { key: "serverLoad", label: "server CPU", unit: "%" },
    { key: "generatorMicros", label: "load generator CPU per delivery", unit: "µs" },
  ],
  sides: (options) => [
    { name: "Skylapse", measure: () => measure(() => startSkylapse(options), options) },
    { name: "Socket.IO", measure: () => measure(() => startSocketIo(options), options) },
  ],
};

function measure(start: () => Promise<EventServer>, { seconds }: BenchOptions): Promise<Sample> {
  return onServer(start, async (server, newGenerator) => {
    const generator = await newGenerator();
    await openFanOut(server, generator, { dashboards: DASHBOARDS });
    const bursts = { size: BURST, window: BURSTS_UNDER_WAY * BURST };
    await generator.call("publishBursts", { ...bursts, seconds: WARM_UP_SECONDS });
    return perDelivery(await costOf(server, generator, () => generator.call("publishBursts", { ...bursts, seconds })));
  });
}
