import { createContext, type ReactNode, useContext } from "react";
import type { Client } from "../client/client.ts";
import { createDashboardStore, type DashboardStore, type DashboardStoreOptions } from "../state/dashboard-store.ts";

type StoreSettings = Omit<DashboardStoreOptions, "client" | "channel">;

interface Stores {
  client: Client;
  settings: StoreSettings;
  byChannel: Map<string, DashboardStore>;
}

/** Components with the same client and channel share a store, and therefore a subscription. */
const storesOfClients = new WeakMap<Client, Stores>();

const StoresContext = createContext<Stores | undefined>(undefined);

interface RealTimeProviderProps {
  client: Client;
  /** Options of {@link createDashboardStore}. Only the first provider of a client sets these options. */
  settings?: StoreSettings;
  children: ReactNode;
}

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

/** @param client default: the client of the nearest provider. @throws {Error} there is neither a client nor a provider */
export function useClient(client?: Client): Client {
  return useStores(client).client;
}

/** @param client default: the client of the nearest provider. @throws {Error} there is neither a client nor a provider */
export function useDashboardStore(channel: string, client?: Client): DashboardStore {
  const stores = useStores(client);
  const known = stores.byChannel.get(channel);
  if (known !== undefined) return known;
  const store = createDashboardStore({ ...stores.settings, client: stores.client, channel });
  stores.byChannel.set(channel, store);
  return store;
}

function useStores(client: Client | undefined): Stores {
  const provided = useContext(StoresContext);
  const stores = client === undefined ? provided : storesOf(client, provided?.settings ?? {});
  if (stores === undefined)
    throw new Error("The hook needs a client: wrap the application in RealTimeProvider, or pass options.client");
  return stores;
}
