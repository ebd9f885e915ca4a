import { useEffect, useState } from "react";
import { checked, type Guard, isObject, number, object } from "../../contract/guards.ts";
import type { Access } from "./access.ts";
import { useServices } from "./services.tsx";

/** The time between a change and the request for new counts, milliseconds. */
const SETTLE_MS = 2000;
/**
 * The page asks again after this time even without a change, because cameras that it does not keep may have changed.
 */
const AGAIN_MS = 60_000;
const TIMEOUT_MS = 15_000;

const isCounts: Guard<Record<string, number>> = (value): value is Record<string, number> =>
  isObject(value) && Object.values(value).every(number());
const isAnswer = object<{ total: number; counts: Record<string, number> }>({ total: number(), counts: isCounts });

export interface FleetCounts {
  total: number;
  online: number;
  /** Includes cameras that did not wake at the announced time. */
  offline: number;
}

/** What the page counts itself. */
interface OwnCounts {
  live: boolean;
  leftOut: number;
  size: number;
  online: number;
  offline: number;
}

async function requestCounts(base: string, access: Access, signal: AbortSignal): Promise<FleetCounts> {
  const url = new URL("cameras?limit=1", base);
  const answer = await access.get(url, AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]));
  if (!answer.ok) throw new Error(`The cameras could not be counted (HTTP ${answer.status})`);
  const { total, counts } = checked(isAnswer, await answer.json());
  return { total, online: counts.online ?? 0, offline: (counts.offline ?? 0) + (counts.overslept ?? 0) };
}

/**
 * The server's counts of cameras, of which the page itself keeps only a limited number. Undefined while the page is not
 * live, before the first response, and after a failed request.
 */
export function useFleetCounts({ live, leftOut, size, online, offline }: OwnCounts): FleetCounts | undefined {
  const { base, access } = useServices();
  const [counts, setCounts] = useState<FleetCounts>();
  // A change of this text makes the page ask the server again.
  const version = [live, leftOut, size, online, offline].join(" ");
  const [counted, setCounted] = useState("");
  useEffect(() => {
    if (!version.startsWith("true")) return;
    const ending = new AbortController();
    const count = () =>
      requestCounts(base, access, ending.signal).then(
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
  }, [base, access, version]);
  // Counts from before a change must not be shown together with the change.
  return counted === version ? counts : undefined;
}
