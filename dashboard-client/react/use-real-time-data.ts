import { useSyncExternalStore } from "react";
import { DASHBOARD } from "../../contract/channels.ts";
import type { Client } from "../client/client.ts";
import type { RealTimeData } from "../state/dashboard-store.ts";
import { useDashboardStore } from "./real-time-provider.tsx";

export interface UseRealTimeDataOptions {
  /** Default: the client of the nearest `RealTimeProvider`. */
  client?: Client;
}

/**
 * The current state of a channel: connection, cameras, jobs, alerts, events, the latest gap, and `command` to send a
 * command to a camera. Without a connection, the last values are kept, `live` is false, and `asOf` says when the values
 * were last known to be right.
 *
 * @param channel default `dashboard`
 */
export function useRealTimeData(channel: string = DASHBOARD, { client }: UseRealTimeDataOptions = {}): RealTimeData {
  const store = useDashboardStore(channel, client);
  return useSyncExternalStore(store.subscribe, store.getSnapshot, store.getSnapshot);
}
