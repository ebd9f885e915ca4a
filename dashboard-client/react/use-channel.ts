import { useMemo } from "react";
import type { DashboardEvent } from "../../contract/socket-messages.ts";
import type { Client } from "../client/client.ts";
import type { ReportedGap, SubscriptionState } from "../client/subscription.ts";
import { useRealTimeData } from "./use-real-time-data.ts";

/** The events of a channel, and whether the list is current. */
export interface ChannelEvents {
  /** The last 100 events, newest first, without the state at the time of subscribing. */
  events: readonly DashboardEvent[];
  /** The newest gap: the events in it are missing. */
  gap: ReportedGap | undefined;
  live: boolean;
  subscription: SubscriptionState;
}

/**
 * The events of a channel, also of a channel that an operator defined. Components with the same channel share a
 * subscription.
 * @param channel such as `dashboard`, `alerts`, `jobs`, `system`, `camera:north`
 * @param options.client default: the client of the nearest `RealTimeProvider`
 */
export function useChannel(channel: string, options: { client?: Client } = {}): ChannelEvents {
  const data = useRealTimeData(channel, options);
  return useMemo(() => {
    const { events, gap, live, subscription } = data;
    return { events, gap, live, subscription };
  }, [data]);
}
