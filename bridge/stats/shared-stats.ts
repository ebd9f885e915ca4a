import type { Logger } from "pino";
import type { CounterSums, Counters } from "../cluster/cluster.ts";
import { COUNTERS, type Counter, countersOf, type Stats } from "./stats.ts";

export interface SharedStatsOptions {
  counters: Counters;
  logger: Logger;
  /** Between two flushes. Default 2,000. */
  flushIntervalMs?: number;
}

/** How long the last flush may take when the program stops. */
const LAST_FLUSH_MS = 500;

/**
 * Totals over all nodes: each adds what it counted since its last flush to the sums they share. A flush whose outcome
 * is not known is repeated as it was, under the same number, so nothing counts twice; what is counted meanwhile waits
 * for the next. A node that is killed takes with it what it had not flushed.
 */
export function startSharedStats({ counters, logger, flushIntervalMs = 2_000 }: SharedStatsOptions): Stats {
  const startedAt = new Date().toISOString();
  let flushedAt = performance.now();
  let known: CounterSums | undefined;
  let waiting = new Map<string, number>([["starts", 1]]);
  let batch: { number: number; by: Record<string, number> } | undefined;
  let batches = 0;
  let flushing: Promise<void> | undefined;
  let stopping: Promise<void> | undefined;

  function count(name: string, by: number): void {
    waiting.set(name, (waiting.get(name) ?? 0) + by);
  }

  function sumOf(name: string): number {
    return (known?.sums.get(name) ?? 0) + (batch?.by[name] ?? 0) + (waiting.get(name) ?? 0);
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
      known = await counters.add(batch.number, batch.by);
      batch = undefined;
    } catch (error) {
      logger.debug({ err: error }, "totals not flushed, trying again");
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
    let patience: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      patience = setTimeout(resolve, LAST_FLUSH_MS);
    });
    // Twice: the first may only end a flush that is under way.
    await Promise.race([flush().then(flush), late]);
    clearTimeout(patience);
  }

  const timer = setInterval(flush, flushIntervalMs);
  timer.unref();
  void flush();

  return {
    add(counter: Counter, by = 1) {
      count(counter, by);
    },
    totals: () => ({
      since: known === undefined ? startedAt : new Date(known.since).toISOString(),
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
