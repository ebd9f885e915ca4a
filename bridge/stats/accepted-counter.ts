import type { Stats } from "./stats.ts";

const COUNT_INTERVAL_MS = 250;

/** Counts only this node's events: every node follows the same journal, and would count each event again. */
export function startAcceptedCounter(ingest: { stats(): { accepted: number } }, stats: Pick<Stats, "add">) {
  let counted = ingest.stats().accepted;
  const count = () => {
    const { accepted } = ingest.stats();
    if (accepted > counted) stats.add("events", accepted - counted);
    counted = accepted;
  };
  const timer = setInterval(count, COUNT_INTERVAL_MS).unref();
  return {
    stop() {
      clearInterval(timer);
      count();
    },
  };
}
