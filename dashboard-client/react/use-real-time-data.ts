import { useSyncExternalStore } from "react";
import { DASHBOARD } from "../../contract/channels.ts";
import type { Client } from "../client/client.ts";
import type { RealTimeData } from "../state/dashboard-store.ts";
import { useDashboardStore } from "./real-time-provider.tsx";

export interface UseRealTimeDataOptions {
  /** Default: that of the nearest `RealTimeProvider`. */
  client?: Client;
}

/**
 * What a channel's events add up to, kept up to date: connection, cameras, jobs, alerts, events, the latest gap, and
 * `command` to give a camera a command. While there is no connection the values stay, with `live` false and `asOf`
 * saying until when they were right.
 *
 * @param channel default `dashboard`
 */
export function useRealTimeData(channel: string = DASHBOARD, { client }: UseRealTimeDataOptions = {}): RealTimeData {
  const store = useDashboardStore(channel, client);
  return useSyncExternalStore(store.subscribe, store.getSnapshot, store.getSnapshot);
}
