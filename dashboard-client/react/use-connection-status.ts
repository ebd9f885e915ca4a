import { useCallback, useSyncExternalStore } from "react";
import type { Client } from "../client/client.ts";
import type { ConnectionState } from "../client/connection-state.ts";
import { useClient } from "./real-time-provider.tsx";

/**
 * The state of the connection. Does not connect: {@link useRealTimeData}, {@link useCamera} and {@link useChannel} do.
 * @param options.client default: the client of the nearest `RealTimeProvider`
 */
export function useConnectionStatus(options: { client?: Client } = {}): ConnectionState {
  const client = useClient(options.client);
  const subscribe = useCallback((listener: () => void) => client.onState(listener), [client]);
  const state = (): ConnectionState => client.state;
  return useSyncExternalStore(subscribe, state, state);
}
