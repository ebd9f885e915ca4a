import { useEffect, useState } from "react";
import { z } from "zod";
import type { RealTimeData } from "../state/dashboard-store.ts";
import type { Access } from "./access.ts";
import { countOffline } from "./camera-order.ts";

/** How soon the server is asked again after something that it counts has changed, milliseconds. */
const SETTLE_MS = 2000;
/** How often the server is asked when nothing changes that the page sees: cameras that found no room change too. */
const AGAIN_MS = 60_000;
const TIMEOUT_MS = 15_000;

const answerSchema = z.object({ total: z.number(), counts: z.record(z.string(), z.number()) });

export interface FleetCounts {
  total: number;
  online: number;
  /** Offline, or asleep past the time they named. */
  offline: number;
}

export interface FleetOptions {
  base: string;
  access: Access;
  fetch: typeof fetch;
}

/** Asks the server how many cameras there are: the page holds a bounded number of them. */
export class Fleet {
  readonly #options: FleetOptions;

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  async counts(signal: AbortSignal): Promise<FleetCounts> {
    const { base, access, fetch } = this.#options;
    const url = new URL("cameras?limit=1", base);
    const headers = { authorization: `Bearer ${await access.current()}` };
    const answer = await fetch(url, { headers, signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]) });
    if (answer.status === 401) access.forgetToken();
    if (!answer.ok) throw new Error(`The cameras could not be counted (HTTP ${answer.status})`);
    const { total, counts } = answerSchema.parse(await answer.json());
    return { total, online: counts.online ?? 0, offline: (counts.offline ?? 0) + (counts.overslept ?? 0) };
  }
}

/** The server's counts while the page is live; undefined until they are known, and when they could not be had. */
export function useFleetCounts(fleet: Fleet, data: RealTimeData): FleetCounts | undefined {
  const [counts, setCounts] = useState<FleetCounts>();
  const { live, leftOut, cameras } = data;
  const online = [...cameras.values()].filter(({ presence }) => presence?.value.status === "online").length;
  // What the page sees change, the server counts anew.
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
        // Without an answer the page counts what it holds.
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
  // A count of before a change must not stand beside what shows the change.
  return counted === version ? counts : undefined;
}
