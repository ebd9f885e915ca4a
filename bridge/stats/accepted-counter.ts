import type { Stats } from "./stats.ts";

/** Milliseconds between two updates of the totals. */
const COUNT_INTERVAL_MS = 250;

/**
 * Counts the events that this node accepted. If nodes followed the journal instead, every node would count each event.
 */
export function startAcceptedCounter(
  ingest: { stats(): { accepted: number } },
  stats: Pick<Stats, "add">,
): { stop(): void } {
  let counted = ingest.stats().accepted;
  const count = () => {
    const { accepted } = ingest.stats();
    if (accepted > counted) stats.add("events", accepted - counted);
    counted = accepted;
  };
  const timer = setInterval(count, COUNT_INTERVAL_MS);
  timer.unref();
  return {
    stop() {
      clearInterval(timer);
      count();
    },
  };
}
