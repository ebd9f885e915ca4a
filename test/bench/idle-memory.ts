import { FIRST_NUMBER } from "./load/event.ts";
import { type BenchOptions, onServer, type Row, type Sample } from "./row.ts";
import type { EventServer } from "./servers/server.ts";
import { startSkylapse } from "./servers/skylapse.ts";
import { startSocketIo } from "./servers/socket-io.ts";

/** Dashboards before the first measurement, so that it includes one-time allocations of the server. */
const EARLIER = 100;

function count({ quick }: BenchOptions): number {
  return quick ? 2000 : 5000;
}

export const idleMemory: Row = {
  name: "idle-memory",
  title: "memory of an idle dashboard, authenticated and subscribed",
  method: (options) =>
    `The difference that ${count(options)} more dashboards make, each of a user of its own, both looks after garbage collection.`,
  figures: [
    { key: "usedKiB", label: "heap and buffers per dashboard", unit: "KiB", target: { ratioAtMost: 0.6 } },
    { key: "rssKiB", label: "resident set per dashboard", unit: "KiB", target: { ratioAtMost: 0.6 } },
  ],
  sides: (options) => [
    { name: "Skylapse", measure: () => measure(() => startSkylapse(options), options) },
    { name: "Socket.IO", measure: () => measure(() => startSocketIo(options), options) },
  ],
};

function measure(start: () => Promise<EventServer>, options: BenchOptions): Promise<Sample> {
  return onServer(start, async (server, newGenerator) => {
    const { dialect, port } = server;
    const more = count(options);
    const tokens = server.tokens(EARLIER + more);
    const open = async (some: readonly string[]) => {
      const generator = await newGenerator();
      await generator.call("openDashboards", { dialect, port, tokens: some, first: FIRST_NUMBER });
    };
    await open(tokens.slice(0, EARLIER));
    const before = await server.memory();
    await open(tokens.slice(EARLIER));
    const after = await server.memory();
    const perDashboard = (bytes: number) => bytes / more / 1024;
    return { usedKiB: perDashboard(after.used - before.used), rssKiB: perDashboard(after.rss - before.rss) };
  });
}
