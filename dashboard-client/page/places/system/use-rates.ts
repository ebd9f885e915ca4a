import { useEffect, useRef, useState } from "react";
import type { Stats } from "./stats.ts";

/** Values for five minutes. */
const MAX_SAMPLES = 60;

export interface Rates {
  /** Events in a second, the newest last. */
  received: readonly number[];
  /** Events sent to dashboards in a second, the newest last. */
  delivered: readonly number[];
}

/** How fast the counts of this node grow, measured between two answers. After a restart of the node, the next two answers are compared. */
export function useRates(stats: Stats): Rates {
  const last = useRef<Stats>(undefined);
  const [rates, setRates] = useState<Rates>({ received: [], delivered: [] });
  useEffect(() => {
    const before = last.current;
    last.current = stats;
    if (before === undefined || before.node.id !== stats.node.id) return;
    const seconds = (Date.parse(stats.timestamp) - Date.parse(before.timestamp)) / 1000;
    if (seconds <= 0) return;
    const rate = (count: (node: Stats["node"]) => number) =>
      Math.max(0, count(stats.node) - count(before.node)) / seconds;
    setRates(({ received, delivered }) => ({
      received: [...received, rate((node) => node.ingest.accepted)].slice(-MAX_SAMPLES),
      delivered: [...delivered, rate((node) => node.sockets.fanOut.deliveries)].slice(-MAX_SAMPLES),
    }));
  }, [stats]);
  return rates;
}
