import type { Stats } from "./stats.ts";

const COUNT_INTERVAL_MS = 250;

/**
 * Counts the events that this node accepted. All nodes follow the same journal, so a count of its entries would count
 * each event once per node.
 */
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
