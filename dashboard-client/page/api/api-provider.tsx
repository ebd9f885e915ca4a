import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { ApiError } from "./api-client.ts";

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      // A refusal stays a refusal: only a lost connection or a busy server is tried again.
      retry: (failures, error) => failures < 3 && !(error instanceof ApiError && error.status < 500),
      // Live events say what has changed: a reconnect or a new focus fetches nothing again.
      refetchOnReconnect: false,
      refetchOnWindowFocus: false,
      staleTime: 30_000,
    },
  },
});

/** Keeps answers of the HTTP API for the places that use them. Loaded with the first such place. */
export function ApiProvider({ children }: { children: ReactNode }): ReactNode {
  return <QueryClientProvider client={queries}>{children}</QueryClientProvider>;
}
