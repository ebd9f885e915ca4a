import { costOfSingles, EVENT_BYTES, SINGLE_INTERVAL_MS } from "./fan-out.ts";
import { maxOpenFiles } from "./open-files.ts";
import { type BenchOptions, onServer, type Row, type Sample } from "./row.ts";
import { startSkylapse } from "./servers/skylapse.ts";

const SIZES = [100, 1000, 10_000] as const;
/** Open files of server and load generator besides the dashboards' sockets. */
const OTHER_FILES = 200;

export const scale: Row = {
  name: "scale",
  title: "one event at a time to 100, 1,000 and 10,000 dashboards",
  method: ({ seconds }) =>
    `Events of ${EVENT_BYTES} B, each sent when all dashboards have the last and ${SINGLE_INTERVAL_MS} ms are over, for ${seconds} s a size.`,
  figures: [
    ...SIZES.map((size) => ({
      key: `cpuMicros${size}`,
      label: `server CPU per delivery, ${size.toLocaleString("en")} dashboards`,
      unit: "µs",
    })),
    { key: "growth", label: "10,000 dashboards to 100", unit: "×", target: { atMost: 1.3 } },
  ],
  sides: (options) => [{ name: "Skylapse", measure: () => measure(options) }],
};

async function measure(options: BenchOptions): Promise<Sample> {
  const allowed = maxOpenFiles();
  const largest = SIZES[SIZES.length - 1] ?? 0;
  if (allowed < largest + OTHER_FILES)
    throw new Error(
      `${largest} dashboards need ${largest + OTHER_FILES} open files and ${allowed} are allowed: ulimit -Hn`,
    );
  const sample: Record<string, number> = {};
  for (const size of SIZES) sample[`cpuMicros${size}`] = await cpuMicros(size, options);
  return { ...sample, growth: (sample.cpuMicros10000 ?? Number.NaN) / (sample.cpuMicros100 ?? Number.NaN) };
}

async function cpuMicros(dashboards: number, options: BenchOptions): Promise<number> {
  const { cpuMicros: micros = Number.NaN } = await onServer(
    () => startSkylapse(options),
    async (server, newGenerator) =>
      costOfSingles(server, await newGenerator(), { dashboards, seconds: options.seconds }),
  );
  return micros;
}
