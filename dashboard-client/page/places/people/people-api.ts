import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { checked, type Guard, isFlag, list, number, object, optional, text } from "../../../../contract/guards.ts";
import { useServices } from "../../services.tsx";

export interface Account {
  user_id: string;
  role?: string | undefined;
  permissions: string[];
  camera_groups?: string[] | undefined;
  enabled: boolean;
  changed_at: string;
}

export interface CameraGroup {
  id: string;
  name: string;
  cameras: string[];
}

export interface Session {
  session_id: string;
  opened_at: string;
  used_at: string;
  address?: string | undefined;
  user_agent?: string | undefined;
  current: boolean;
}

export interface Integration {
  id: string;
  role?: string | undefined;
  permissions: string[];
  secrets: { created_at: string; expires_at?: string | undefined }[];
  last_used_at?: string | undefined;
}

export interface Device {
  id: string;
  kind: string;
  certificate_name?: string | undefined;
  changed_at: string;
}

export interface AuditLine {
  id: string;
  time: string;
  action: string;
  who: string;
  address?: string | undefined;
  target: string;
  outcome: string;
}

/** More than the server keeps of anything. */
const MAX_LISTED = 100_000;
const texts = list(text(), MAX_LISTED);

const isAccounts = object<{ users: Account[] }>({
  users: list(
    object<Account>({
      ...{ user_id: text(), role: optional(text()), permissions: texts, camera_groups: optional(texts) },
      ...{ enabled: isFlag, changed_at: text() },
    }),
    MAX_LISTED,
  ),
});
const isGroups = object<{ groups: CameraGroup[] }>({
  groups: list(object<CameraGroup>({ id: text(), name: text(), cameras: texts }), MAX_LISTED),
});
const isSessions = object<{ sessions: Session[]; total: number }>({
  sessions: list(
    object<Session>({
      ...{ session_id: text(), opened_at: text(), used_at: text(), current: isFlag },
      ...{ address: optional(text()), user_agent: optional(text()) },
    }),
    MAX_LISTED,
  ),
  total: number(),
});
const isIntegrations = object<{ integrations: Integration[] }>({
  integrations: list(
    object<Integration>({
      ...{ id: text(), role: optional(text()), permissions: texts, last_used_at: optional(text()) },
      secrets: list(object<Integration["secrets"][number]>({ created_at: text(), expires_at: optional(text()) }), 10),
    }),
    MAX_LISTED,
  ),
});
const isDevices = object<{ devices: Device[] }>({
  devices: list(
    object<Device>({ id: text(), kind: text(), certificate_name: optional(text()), changed_at: text() }),
    MAX_LISTED,
  ),
});
const isSecret = object<{ secret: string }>({ secret: text() });

export const useAccounts = () => useAnswer("users", isAccounts);
export const useCameraGroups = () => useAnswer("camera-groups", isGroups);
export const useIntegrations = () => useAnswer("integrations", isIntegrations);
export const useDevices = () => useAnswer("devices", isDevices);
export const useSessions = (userId: string) => useAnswer(`users/${encodeURIComponent(userId)}/sessions`, isSessions);

/** @param path the route, which is also the key by which {@link useChange} reads it again */
function useAnswer<Answer>(path: string, isValid: Guard<Answer>) {
  const { api } = useServices();
  return useQuery({
    queryKey: [path],
    queryFn: async ({ signal }) => checked(isValid, await api.request(path, { signal })),
    // Other people may change accounts, and no event tells.
    staleTime: 0,
  });
}

interface Change {
  method: "POST" | "PUT" | "DELETE";
  path: string;
  body?: object;
}

/** Sends a change, and reads the list again. Rejects with a message for the user. @param list the path of the list */
export function useChange(listPath: string) {
  const { api } = useServices();
  const queries = useQueryClient();
  return useMutation({
    mutationFn: ({ path, ...request }: Change) => api.request(path, request),
    onSettled: () => queries.invalidateQueries({ queryKey: [listPath] }),
  });
}

/** The secret in the response to a request that made one. */
export function secretIn(answer: unknown): string | undefined {
  return isSecret(answer) ? answer.secret : undefined;
}
