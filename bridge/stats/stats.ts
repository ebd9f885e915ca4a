import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { Logger } from "pino";
import { z } from "zod";

/** With the interval in which events are counted, less than a second. */
export const FLUSH_INTERVAL_MS = 700;

const natural = z.number().int().nonnegative();
/** A count that an older file lacks starts at 0. */
const count = natural.default(0);
export const countsSchema = z.object({
  ...{ events: count, connections: count, tokens_minted: count, broadcasts: count, commands: count },
  ...{ http_requests: count, http_refused: count, lost_events: count },
});
type Counts = z.infer<typeof countsSchema>;

interface Totals {
  /** The time of the first start, RFC 3339. */
  since: string;
  starts: number;
  /** The running time of all runs together. */
  uptime_seconds: number;
  counts: Counts;
}

/** Totals since the first start. After a `kill -9`, the counts of the last second are missing. */
export interface Stats {
  /** @param by the number to add. Default: 1 */
  add(counter: keyof Counts, by?: number): void;
  totals(): Totals;
  /** Writes the totals a last time. */
  stop(): Promise<void>;
}

interface StatsOptions {
  /** A JSON file. Its folder is created if missing. */
  path: string;
  logger: Logger;
  /** Default {@link FLUSH_INTERVAL_MS}. */
  flushIntervalMs?: number;
}

const storedSchema = z.object({
  ...{ since: z.iso.datetime(), starts: natural, uptime_seconds: z.number().nonnegative() },
  counts: countsSchema,
});

export async function openStats({ path, logger, flushIntervalMs = FLUSH_INTERVAL_MS }: StatsOptions): Promise<Stats> {
  await mkdir(dirname(path), { recursive: true });
  const stored = await readStored(path, logger);
  const startedAt = performance.now();
  const { counts } = stored;
  let changed = true;
  let writing: Promise<void> = Promise.resolve();
  let stopping: Promise<void> | undefined;

  const totals = (): Totals => ({
    since: stored.since,
    starts: stored.starts + 1,
    uptime_seconds: Math.round(stored.uptime_seconds + (performance.now() - startedAt) / 1000),
    counts: { ...counts },
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

  const timer = setInterval(flush, flushIntervalMs).unref();
  await flush();

  return {
    add(counter, by = 1) {
      counts[counter] += by;
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
    return { since: new Date().toISOString(), starts: 0, uptime_seconds: 0, counts: countsSchema.parse({}) };
  }
}
