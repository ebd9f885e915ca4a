import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { Logger } from "pino";
import { z } from "zod";

/** The names of the totals since the first start. */
export const COUNTERS = [
  "events",
  "connections",
  "tokens_minted",
  "broadcasts",
  "commands",
  "http_requests",
  "http_refused",
] as const;
export type Counter = (typeof COUNTERS)[number];

export interface Totals {
  /** The time of the first start, RFC 3339. */
  since: string;
  starts: number;
  /** Running time of all runs together, seconds. */
  uptime_seconds: number;
  counts: Record<Counter, number>;
}

/**
 * Totals since the first start. They survive restarts. After a `kill -9`, the counts of at most one flush interval are
 * missing.
 */
export interface Stats {
  /** Adds to a total. @param by default 1 */
  add(counter: Counter, by?: number): void;
  totals(): Totals;
  /** Writes the totals for the last time. */
  stop(): Promise<void>;
}

export interface StatsOptions {
  /** The path of a JSON file. Its folder is created if missing. */
  path: string;
  logger: Logger;
  /** Milliseconds between two writes. Default 10,000. */
  flushIntervalMs?: number;
}

const count = z.number().int().nonnegative();
const storedSchema = z.object({
  since: z.iso.datetime(),
  starts: count,
  uptime_seconds: z.number().nonnegative(),
  /** Counters missing in an older file start at 0. */
  counts: z.record(z.string(), count),
});

export async function openStats({ path, logger, flushIntervalMs = 10_000 }: StatsOptions): Promise<Stats> {
  await mkdir(dirname(path), { recursive: true });
  const stored = await readStored(path, logger);
  const startedAt = performance.now();
  const counts = Object.fromEntries(COUNTERS.map((name) => [name, stored.counts[name] ?? 0]));
  let changed = true;
  let writing: Promise<void> = Promise.resolve();
  let stopping: Promise<void> | undefined;

  const totals = (): Totals => ({
    since: stored.since,
    starts: stored.starts + 1,
    uptime_seconds: Math.round(stored.uptime_seconds + (performance.now() - startedAt) / 1000),
    counts: countersOf(counts),
  });

  function flush(): Promise<void> {
    writing = writing.then(async () => {
      if (!changed) return;
      changed = false;
      try {
        await writeFile(`${path}.tmp`, `${JSON.stringify(totals(), undefined, 2)}\n`, { mode: 0o600 });
        await rename(`${path}.tmp`, path);
      } catch (error) {
        changed = true;
        logger.warn({ err: error, path }, "totals not written");
      }
    });
    return writing;
  }

  const timer = setInterval(flush, flushIntervalMs);
  timer.unref();
  await flush();

  return {
    add(counter, by = 1) {
      counts[counter] = (counts[counter] ?? 0) + by;
      changed = true;
    },
    totals,
    stop() {
      stopping ??= (async () => {
        clearInterval(timer);
        changed = true;
        await flush();
      })();
      return stopping;
    },
  };
}

/** Renames an unreadable file instead of overwriting it, so that an operator can repair it. */
async function readStored(path: string, logger: Logger): Promise<z.infer<typeof storedSchema>> {
  let text: string | undefined;
  try {
    text = await readFile(path, "utf8");
    return storedSchema.parse(JSON.parse(text));
  } catch (error) {
    if (text !== undefined) {
      logger.warn({ err: error, path, keptAs: `${path}.unreadable` }, "totals unreadable, counting from zero");
      await rename(path, `${path}.unreadable`);
    }
    return { since: new Date().toISOString(), starts: 0, uptime_seconds: 0, counts: {} };
  }
}

export function countersOf(counts: Readonly<Record<string, number>>): Record<Counter, number> {
  return {
    events: counts.events ?? 0,
    connections: counts.connections ?? 0,
    tokens_minted: counts.tokens_minted ?? 0,
    broadcasts: counts.broadcasts ?? 0,
    commands: counts.commands ?? 0,
    http_requests: counts.http_requests ?? 0,
    http_refused: counts.http_refused ?? 0,
  };
}
