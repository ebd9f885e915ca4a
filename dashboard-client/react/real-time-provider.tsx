import { createContext, type ReactNode, useContext } from "react";
import type { Client } from "../client/client.ts";
import { createDashboardStore, type DashboardStore, type DashboardStoreOptions } from "../state/dashboard-store.ts";

export type StoreSettings = Omit<DashboardStoreOptions, "client" | "channel">;

interface Stores {
  client: Client;
  settings: StoreSettings;
  byChannel: Map<string, DashboardStore>;
}

/** Components that watch the same channel of the same client share one store, and with it one subscription. */
const storesOfClients = new WeakMap<Client, Stores>();

const StoresContext = createContext<Stores | undefined>(undefined);

export interface RealTimeProviderProps {
  client: Client;
  /** As for {@link createDashboardStore}; those of a client's first provider count. */
  settings?: StoreSettings;
  children: ReactNode;
}

/** Gives the components below the client that `useRealTimeData` uses. */
export function RealTimeProvider({ client, settings = {}, children }: RealTimeProviderProps): ReactNode {
  return <StoresContext value={storesOf(client, settings)}>{children}</StoresContext>;
}

function storesOf(client: Client, settings: StoreSettings): Stores {
  const held = storesOfClients.get(client);
  if (held !== undefined) return held;
  const stores: Stores = { client, settings, byChannel: new Map() };
  storesOfClients.set(client, stores);
  return stores;
}

/** The store of a channel: of the client that is given, or of the nearest provider's. */
export function useDashboardStore(channel: string, client?: Client): DashboardStore {
  const provided = useContext(StoresContext);
  const stores = client === undefined ? provided : storesOf(client, provided?.settings ?? {});
  if (stores === undefined)
    throw new Error("useRealTimeData needs a client: wrap the application in RealTimeProvider, or pass options.client");
  const held = stores.byChannel.get(channel);
  if (held !== undefined) return held;
  const store = createDashboardStore({ ...stores.settings, client: stores.client, channel });
  stores.byChannel.set(channel, store);
  return store;
}
