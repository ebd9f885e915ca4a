import { createContext, type ReactNode, useContext } from "react";
import type { Client } from "../client/client.ts";
import { createDashboardStore, type DashboardStore, type DashboardStoreOptions } from "../state/dashboard-store.ts";

export type StoreSettings = Omit<DashboardStoreOptions, "client" | "channel">;

interface Stores {
  client: Client;
  settings: StoreSettings;
  byChannel: Map<string, DashboardStore>;
}

/** Components that use the same channel of the same client share one store, and therefore one subscription. */
const storesOfClients = new WeakMap<Client, Stores>();

const StoresContext = createContext<Stores | undefined>(undefined);

export interface RealTimeProviderProps {
  client: Client;
  /**
   * The options of {@link createDashboardStore}. The first provider of a client sets these options; those of later
   * providers are ignored.
   */
  settings?: StoreSettings;
  children: ReactNode;
}

/** Provides the client that `useRealTimeData` uses in the components below. */
export function RealTimeProvider({ client, settings = {}, children }: RealTimeProviderProps): ReactNode {
  return <StoresContext value={storesOf(client, settings)}>{children}</StoresContext>;
}

function storesOf(client: Client, settings: StoreSettings): Stores {
  const known = storesOfClients.get(client);
  if (known !== undefined) return known;
  const stores: Stores = { client, settings, byChannel: new Map() };
  storesOfClients.set(client, stores);
  return stores;
}

/**
 * The store of a channel. Uses the given client, or the client of the nearest provider. @throws {Error} no client is
 * given, and there is no provider
 */
export function useDashboardStore(channel: string, client?: Client): DashboardStore {
  const provided = useContext(StoresContext);
  const stores = client === undefined ? provided : storesOf(client, provided?.settings ?? {});
  if (stores === undefined)
    throw new Error("useRealTimeData needs a client: wrap the application in RealTimeProvider, or pass options.client");
  const known = stores.byChannel.get(channel);
  if (known !== undefined) return known;
  const store = createDashboardStore({ ...stores.settings, client: stores.client, channel });
  stores.byChannel.set(channel, store);
  return store;
}
