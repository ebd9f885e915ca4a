import { useSyncExternalStore } from "react";
import { DASHBOARD } from "../../contract/channels.ts";
import type { Client } from "../client/client.ts";
import type { RealTimeData } from "../state/dashboard-store.ts";
import { useDashboardStore } from "./real-time-provider.tsx";

interface UseRealTimeDataOptions {
  /** Default: the client of the nearest `RealTimeProvider`. */
  client?: Client;
}

/**
 * The current state of a channel, and `command` to send a command to a camera. Without a connection, `live` is false, the
 * last values are kept, and `asOf` says until when they were current.
 */
export function useRealTimeData(channel: string = DASHBOARD, { client }: UseRealTimeDataOptions = {}): RealTimeData {
  const store = useDashboardStore(channel, client);
  return useSyncExternalStore(store.subscribe, store.getSnapshot, store.getSnapshot);
}
