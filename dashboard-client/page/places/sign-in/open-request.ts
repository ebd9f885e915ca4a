import { useEffect, useState } from "react";
import { checked, type Guard } from "../../../../contract/guards.ts";

const TIMEOUT_MS = 15_000;

export interface OpenAnswer<Value> {
  value: Value | undefined;
  /** The server did not answer. */
  failed: boolean;
}

/** The answer of a route that needs no token. @param address undefined: nothing is asked yet */
export function useOpenRequest<Value>(address: string | undefined, isValid: Guard<Value>): OpenAnswer<Value> {
  const [answer, setAnswer] = useState<OpenAnswer<Value>>({ value: undefined, failed: false });
  useEffect(() => {
    if (address === undefined) return;
    const ending = new AbortController();
    fetch(address, { signal: AbortSignal.any([ending.signal, AbortSignal.timeout(TIMEOUT_MS)]) })
      .then(async (response) => checked(isValid, await response.json()))
      .then((value) => {
        if (!ending.signal.aborted) setAnswer({ value, failed: false });
      })
      .catch(() => {
        if (!ending.signal.aborted) setAnswer({ value: undefined, failed: true });
      });
    return () => ending.abort();
  }, [address, isValid]);
  return answer;
}
