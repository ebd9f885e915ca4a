import { useCallback, useRef, useSyncExternalStore } from "react";
import { DASHBOARD } from "../../contract/channels.ts";
import { useDashboardStore } from "../react/real-time-provider.tsx";
import type { RealTimeData } from "../state/dashboard-store.ts";

/**
 * A part of the dashboard's state. The component is rendered again only when this part changes, not after each event.
 * @param select returns the part: a value, or an object or list whose members are compared one by one
 */
export function useDashboard<Part>(select: (data: RealTimeData) => Part): Part {
  const store = useDashboardStore(DASHBOARD);
  const kept = useRef<{ part: Part } | undefined>(undefined);
  const snapshot = useCallback((): Part => {
    const part = select(store.getSnapshot());
    if (kept.current !== undefined && isSame(kept.current.part, part)) return kept.current.part;
    kept.current = { part };
    return part;
  }, [store, select]);
  return useSyncExternalStore(store.subscribe, snapshot, snapshot);
}

function isSame(one: unknown, other: unknown): boolean {
  if (Object.is(one, other)) return true;
  if (!isPlain(one) || !isPlain(other) || Array.isArray(one) !== Array.isArray(other)) return false;
  const [names, others] = [Object.keys(one), Object.keys(other)];
  return names.length === others.length && names.every((name) => Object.is(one[name], other[name]));
}

function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  return Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype;
}
