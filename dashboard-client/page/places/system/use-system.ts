import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useServices } from "../../services.tsx";
import { connectionsOf, readinessOf, statsOf } from "./stats.ts";

/** No event tells these values, so they are fetched again while the place is shown. */
const REFRESH_MS = 5_000;

export function useStats(allowed: boolean) {
  const { api } = useServices();
  return useQuery({
    queryKey: ["stats"],
    queryFn: async ({ signal }) => statsOf(await api.request("stats", { signal })),
    refetchInterval: REFRESH_MS,
    enabled: allowed,
  });
}

/** The connections of all nodes, which only an admin may list. */
export function useConnections(admin: boolean) {
  const { api } = useServices();
  return useQuery({
    queryKey: ["connections"],
    queryFn: async ({ signal }) => connectionsOf(await api.request("connections", { signal })),
    refetchInterval: REFRESH_MS,
    enabled: admin,
  });
}

/** Whether the server accepts work. The answer 503 has the same form. */
export function useReadiness() {
  const { base } = useServices();
  return useQuery({
    queryKey: ["readyz"],
    queryFn: async ({ signal }) => readinessOf(await (await fetch(`${base}readyz`, { signal })).json()),
    refetchInterval: REFRESH_MS,
  });
}

export function useRefresh(): (...keys: ("stats" | "connections" | "readyz")[]) => void {
  const queries = useQueryClient();
  return (...keys) => {
    for (const key of keys) void queries.invalidateQueries({ queryKey: [key] });
  };
}
