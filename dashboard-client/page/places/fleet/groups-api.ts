import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import type { ApiClient } from "../../api/api-client.ts";
import { useServices } from "../../services.tsx";

export interface CameraGroup {
  /** Chosen by the admin once. Accounts name the groups that limit them by their ids. */
  id: string;
  name: string;
  cameras: readonly string[];
  /** The server refuses a change with an earlier version: another admin has changed the group since. */
  version?: string | undefined;
}

const KEY = ["camera-groups"];
const pathOf = (id: string): string => `camera-groups/${encodeURIComponent(id)}`;

async function requestGroups(api: ApiClient, signal: AbortSignal): Promise<readonly CameraGroup[]> {
  const { groups } = Object(await api.request("camera-groups", { signal })) as { groups?: unknown };
  return Array.isArray(groups) ? groups.filter(isGroup) : [];
}

function isGroup(value: unknown): value is CameraGroup {
  const { id, name, cameras, version } = Object(value) as Record<string, unknown>;
  const hasVersion = version === undefined || typeof version === "string";
  return typeof id === "string" && typeof name === "string" && Array.isArray(cameras) && hasVersion;
}

export function useGroups() {
  const { api } = useServices();
  // Another admin may have changed the groups since the dialog was last open.
  return useQuery({ queryKey: KEY, queryFn: ({ signal }) => requestGroups(api, signal), staleTime: 0 });
}

/** @returns saves a group: makes it if it is new, otherwise changes its name and cameras */
export function useSaveGroup() {
  const { api } = useServices();
  return useChange(({ id, name, cameras, version, isNew }: CameraGroup & { isNew: boolean }) =>
    isNew
      ? api.request("camera-groups", { method: "POST", body: { id, name, cameras } })
      : api.request(pathOf(id), { method: "PUT", body: { name, cameras, version } }),
  );
}

export function useRemoveGroup() {
  const { api } = useServices();
  return useChange((id: string) => api.request(pathOf(id), { method: "DELETE" }));
}

function useChange<Input>(change: (input: Input) => Promise<unknown>) {
  const queries = useQueryClient();
  return useMutation({ mutationFn: change, onSettled: () => queries.invalidateQueries({ queryKey: KEY }) });
}

/** The id of a new group: `Nordwand, oben` becomes `nordwand-oben`. Empty if the name has no letter or digit of an id. */
export function idFor(name: string): string {
  return name
    .normalize("NFKD")
    .toLowerCase()
    .replaceAll("ß", "ss")
    .replaceAll(/\p{M}/gu, "")
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-+|-+$/g, "")
    .slice(0, 63);
}
