import { messageOf } from "../../platform/errors.ts";

interface StoreCheckOptions {
  /** Rejects when the write fails. */
  write: () => Promise<void>;
  /** How long the result of a write is reused. Default 1,000. */
  keptMs?: number;
  /** A slower write is regarded as failed. Default 2,500. */
  timeoutMs?: number;
}

/**
 * Creates a check of whether the store accepts writes. The check makes at most one test write at a time and reuses its
 * result, so that many probes do not cause many writes.
 * @returns the check, which never rejects: it resolves to the reason why the store accepts no writes, or to undefined
 */
export function createStoreCheck(options: StoreCheckOptions): () => Promise<string | undefined> {
  const { write, keptMs = 1_000, timeoutMs = 2_500 } = options;
  let last: { outcome: Promise<string | undefined>; until: number } | undefined;

  async function check(): Promise<string | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<string>((resolve) => {
      timer = setTimeout(() => resolve(`the store did not answer within ${timeoutMs} ms`), timeoutMs);
    });
    const writing = write().then(() => undefined, messageOf);
    const outcome = await Promise.race([writing, timeout]);
    clearTimeout(timer);
    return outcome;
  }

  return () => {
    if (last === undefined || performance.now() >= last.until) {
      const current = { outcome: check(), until: Number.POSITIVE_INFINITY };
      last = current;
      void current.outcome.then(() => {
        current.until = performance.now() + keptMs;
      });
    }
    return last.outcome;
  };
}
