import { useEffect, useState } from "react";
import { DASHBOARD } from "../../../../contract/channels.ts";
import { useDashboardStore } from "../../../react/real-time-provider.tsx";
import { serverNow } from "../../server-time.ts";
import { type Arrangement, arrange, isSameArrangement } from "./arrange.ts";
import type { FleetQuery } from "./fleet-query.ts";

/**
 * The shortest time between two arrangements, milliseconds. Sorting 500 cameras for each of 60 frames a second would take
 * a fifth of the processor's time, and cards that change their places so often cannot be read.
 */
const INTERVAL_MS = 250;

/** The cameras in the order of the query. Changes only when the order or the filters change. */
export function useArrangement(query: FleetQuery): Arrangement {
  const store = useDashboardStore(DASHBOARD);
  const now = (): Arrangement => arrange(store.getSnapshot(), query, serverNow());
  const [kept, setKept] = useState(() => ({ query, arrangement: now() }));
  // A new query applies at once, not after the interval.
  const shown = kept.query === query ? kept : { query, arrangement: now() };
  if (shown !== kept) setKept(shown);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let isEmpty = true;
    const update = (): void => {
      timer = undefined;
      const arrangement = arrange(store.getSnapshot(), query, serverNow());
      isEmpty = arrangement.total === 0;
      setKept((before) =>
        before.query === query && isSameArrangement(before.arrangement, arrangement) ? before : { query, arrangement },
      );
    };
    const unsubscribe = store.subscribe(() => {
      // The first cameras are shown at once.
      timer ??= setTimeout(update, isEmpty ? 0 : INTERVAL_MS);
    });
    update();
    return () => {
      unsubscribe();
      clearTimeout(timer);
    };
  }, [store, query]);
  return shown.arrangement;
}
