import { useEffect, useState } from "react";
import { checked, isFlag, object, optional, text } from "../../contract/guards.ts";
import type { ConnectionView } from "../state/dashboard-store.ts";

const TIMEOUT_MS = 15_000;
const isAnswer = object<{ allowed: boolean; message?: string }>({ allowed: isFlag, message: optional(text()) });

/**
 * The setting that an operator must change, if the server refuses pages from this address. The page asks by HTTP, because
 * a browser does not say why a WebSocket failed.
 */
export function useRefusedOrigin(
  base: string,
  { status, cause }: Pick<ConnectionView, "status" | "cause">,
): string | undefined {
  const [advice, setAdvice] = useState<string>();
  const lost = status !== "connected" && cause !== undefined;
  useEffect(() => {
    setAdvice(undefined);
    if (!lost) return;
    const ending = new AbortController();
    const url = new URL("allowed-origin", base);
    url.searchParams.set("origin", location.origin);
    fetch(url, { signal: AbortSignal.any([ending.signal, AbortSignal.timeout(TIMEOUT_MS)]) })
      .then(async (answer) => checked(isAnswer, await answer.json()))
      .then(({ allowed, message }) => {
        if (!allowed && !ending.signal.aborted) setAdvice(message);
      })
      // The server does not respond. The banner already shows that the connection is lost.
      .catch(() => {});
    return () => ending.abort();
  }, [base, lost]);
  return advice;
}
