import { useEffect, useState } from "react";
import { z } from "zod";
import type { RealTimeData } from "../state/dashboard-store.ts";
import type { Access } from "./access.ts";
import { countOffline } from "./camera-order.ts";

/** How long after a change the server is asked for its counts, milliseconds. */
const SETTLE_MS = 2000;
/** The interval between requests without a visible change, milliseconds: cameras that were left out change too. */
const AGAIN_MS = 60_000;
const TIMEOUT_MS = 15_000;

const answerSchema = z.object({ total: z.number(), counts: z.record(z.string(), z.number()) });

export interface FleetCounts {
  total: number;
  online: number;
  /** Offline, or asleep beyond the time they announced. */
  offline: number;
}

export interface FleetOptions {
  base: string;
  access: Access;
}

/** Asks the server how many cameras there are. The page itself keeps only a limited number of them. */
export class Fleet {
  readonly #options: FleetOptions;

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  async counts(signal: AbortSignal): Promise<FleetCounts> {
    const { base, access } = this.#options;
    const url = new URL("cameras?limit=1", base);
    const answer = await access.get(url, AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]));
    if (!answer.ok) throw new Error(`The cameras could not be counted (HTTP ${answer.status})`);
    const { total, counts } = answerSchema.parse(await answer.json());
    return { total, online: counts.online ?? 0, offline: (counts.offline ?? 0) + (counts.overslept ?? 0) };
  }
}

/** The counts of the server while the page is live. Undefined until they are known, and if the request failed. */
export function useFleetCounts(fleet: Fleet, data: RealTimeData): FleetCounts | undefined {
  const [counts, setCounts] = useState<FleetCounts>();
  const { live, leftOut, cameras } = data;
  const online = [...cameras.values()].filter(({ presence }) => presence?.value.status === "online").length;
  // A change of this text makes the page ask the server again.
  const version = [live, leftOut, cameras.size, online, countOffline(data)].join(" ");
  const [counted, setCounted] = useState("");
  useEffect(() => {
    if (!version.startsWith("true")) return;
    const ending = new AbortController();
    const count = () =>
      fleet.counts(ending.signal).then(
        (next) => {
          if (ending.signal.aborted) return;
          setCounts(next);
          setCounted(version);
        },
        // Without an answer the page shows the counts of its own cameras.
        () => setCounts(undefined),
      );
    const first = setTimeout(count, SETTLE_MS);
    const again = setInterval(count, AGAIN_MS);
    return () => {
      clearTimeout(first);
      clearInterval(again);
      ending.abort();
    };
  }, [fleet, version]);
  // Counts from before a change must not be shown next to the change.
  return counted === version ? counts : undefined;
}
