import type { Logger } from "pino";
import type { CounterSums, Counters } from "../cluster/cluster.ts";
import { COUNTERS, type Counter, countersOf, type Stats } from "./stats.ts";

export interface SharedStatsOptions {
  counters: Counters;
  logger: Logger;
  /** Milliseconds between two flushes. Default 2,000. */
  flushIntervalMs?: number;
}

/** How long the last flush may take when the program stops, milliseconds. */
const LAST_FLUSH_MS = 500;

/**
 * Totals over all nodes. Each node adds its counts since the last flush to the shared sums. A flush whose result is
 * unknown is repeated unchanged, with the same batch number, so nothing is counted twice. Newer counts wait for the
 * next batch. The unflushed counts of a killed node are lost.
 */
export function startSharedStats({ counters, logger, flushIntervalMs = 2_000 }: SharedStatsOptions): Stats {
  const startedAt = new Date().toISOString();
  let flushedAt = performance.now();
  let shared: CounterSums | undefined;
  let waiting = new Map<string, number>([["starts", 1]]);
  let batch: { number: number; by: Record<string, number> } | undefined;
  let batches = 0;
  let flushing: Promise<void> | undefined;
  let stopping: Promise<void> | undefined;

  function count(name: string, by: number): void {
    waiting.set(name, (waiting.get(name) ?? 0) + by);
  }

  function sumOf(name: string): number {
    return (shared?.sums.get(name) ?? 0) + (batch?.by[name] ?? 0) + (waiting.get(name) ?? 0);
  }

  function nextBatch(): { number: number; by: Record<string, number> } {
    const now = performance.now();
    const ms = Math.floor(now - flushedAt);
    flushedAt += ms;
    count("uptime_ms", ms);
    const by = Object.fromEntries(waiting);
    waiting = new Map();
    return { number: ++batches, by };
  }

  async function tryToFlush(): Promise<void> {
    batch ??= nextBatch();
    try {
      shared = await counters.add(batch.number, batch.by);
      batch = undefined;
    } catch (error) {
      logger.debug({ err: error }, "totals not flushed, retrying");
    }
  }

  function flush(): Promise<void> {
    flushing ??= tryToFlush().finally(() => {
      flushing = undefined;
    });
    return flushing;
  }

  async function stop(): Promise<void> {
    clearInterval(timer);
    let timeout: NodeJS.Timeout | undefined;
    const timedOut = new Promise<void>((resolve) => {
      timeout = setTimeout(resolve, LAST_FLUSH_MS);
    });
    // Flushes twice, because the first call may only wait for a flush that was already under way.
    await Promise.race([flush().then(flush), timedOut]);
    clearTimeout(timeout);
  }

  const timer = setInterval(flush, flushIntervalMs);
  timer.unref();
  void flush();

  return {
    add(counter: Counter, by = 1) {
      count(counter, by);
    },
    totals: () => ({
      since: shared === undefined ? startedAt : new Date(shared.since).toISOString(),
      starts: sumOf("starts"),
      uptime_seconds: Math.round((sumOf("uptime_ms") + performance.now() - flushedAt) / 1000),
      counts: countersOf(Object.fromEntries(COUNTERS.map((name) => [name, sumOf(name)]))),
    }),
    stop() {
      stopping ??= stop();
      return stopping;
    },
  };
}
