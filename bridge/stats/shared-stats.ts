import { setTimeout as after } from "node:timers/promises";
import type { Logger } from "pino";
import type { CounterSums, Counters } from "../cluster/cluster.ts";
import { countsSchema, FLUSH_INTERVAL_MS, type Stats } from "./stats.ts";

interface SharedStatsOptions {
  counters: Counters;
  logger: Logger;
  /** Default {@link FLUSH_INTERVAL_MS}. */
  flushIntervalMs?: number;
}

/** The longest wait for the last flush when the program stops. */
const LAST_FLUSH_MS = 500;

/**
 * Totals over all nodes. Each node adds its counts since the last flush to the shared sums. A flush whose result is
 * unknown is repeated with the same batch number and the same counts, so nothing is counted twice. Newer counts wait
 * for the next batch. The counts of the last second of a killed node are lost.
 */
export function startSharedStats({ counters, logger, flushIntervalMs = FLUSH_INTERVAL_MS }: SharedStatsOptions): Stats {
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

  function nextBatch(): NonNullable<typeof batch> {
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
    const timeout = new AbortController();
    const timedOut = after(LAST_FLUSH_MS, undefined, { signal: timeout.signal }).catch(() => {});
    // Flushes twice: the first call may only wait for a flush that was already running.
    await Promise.race([flush().then(flush), timedOut]);
    timeout.abort();
  }

  const timer = setInterval(flush, flushIntervalMs).unref();
  void flush();

  return {
    add: (counter, by = 1) => count(counter, by),
    totals: () => ({
      since: shared === undefined ? startedAt : new Date(shared.since).toISOString(),
      starts: sumOf("starts"),
      uptime_seconds: Math.round((sumOf("uptime_ms") + performance.now() - flushedAt) / 1000),
      counts: countsSchema.parse(
        Object.fromEntries(Object.keys(countsSchema.shape).map((name) => [name, sumOf(name)])),
      ),
    }),
    stop() {
      stopping ??= stop();
      return stopping;
    },
  };
}
