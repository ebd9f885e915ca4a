import { createContext, type ReactNode, useContext } from "react";
import type { Client } from "../client/client.ts";
import type { Access } from "./access.ts";
import type { ApiClient } from "./api/api-client.ts";
import type { FilmLinks } from "./film-links.ts";
import type { Pictures } from "./pictures.ts";

/** What the whole page shares. */
export interface Services {
  /** The address of the server, such as `https://sky.example.org/`. */
  base: string;
  access: Access;
  api: ApiClient;
  client: Client;
  pictures: Pictures;
  films: FilmLinks;
}

const ServicesContext = createContext<Services | undefined>(undefined);

export function ServicesProvider({ services, children }: { services: Services; children: ReactNode }): ReactNode {
  return <ServicesContext value={services}>{children}</ServicesContext>;
}

export function useServices(): Services {
  const services = useContext(ServicesContext);
  if (services === undefined) throw new Error("The component is outside of ServicesProvider");
  return services;
}
