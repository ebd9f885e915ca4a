import { useEffect, useState } from "react";
import { z } from "zod";
import type { ConnectionView } from "../state/dashboard-store.ts";

const TIMEOUT_MS = 15_000;
const answerSchema = z.object({ allowed: z.boolean(), message: z.string().optional() });

/**
 * What an operator must set when the server does not let pages of this address connect; undefined when that is not why
 * there is no connection. A browser tells a page only that its WebSocket failed, so the page asks by HTTP.
 */
export function useRefusedOrigin(base: string, { status, cause }: ConnectionView): string | undefined {
  const [advice, setAdvice] = useState<string>();
  const lost = status !== "connected" && cause !== undefined;
  useEffect(() => {
    setAdvice(undefined);
    if (!lost) return;
    const ending = new AbortController();
    const url = new URL("allowed-origin", base);
    url.searchParams.set("origin", location.origin);
    fetch(url, { signal: AbortSignal.any([ending.signal, AbortSignal.timeout(TIMEOUT_MS)]) })
      .then(async (answer) => answerSchema.parse(await answer.json()))
      .then(({ allowed, message }) => {
        if (!allowed && !ending.signal.aborted) setAdvice(message);
      })
      // A server that does not answer is away: the banner says so already.
      .catch(() => {});
    return () => ending.abort();
  }, [base, lost]);
  return advice;
}
