export interface StoreCheckOptions {
  /** Writes to the store. @throws any error when the write fails */
  write: () => Promise<void>;
  /** How long the result of a write is reused, milliseconds. Default 1,000. */
  keptMs?: number;
  /** A write that takes longer than this is regarded as failed, milliseconds. Default 2,500. */
  timeoutMs?: number;
}

/**
 * Creates a check of whether the store accepts writes. It makes at most one test write at a time, and reuses its result
 * for `keptMs`, so that many probes do not cause many writes.
 * @returns the check. The check resolves to the reason why the store accepts no writes, or to undefined if it accepts
 * them. It never rejects.
 */
export function createStoreCheck({
  write,
  keptMs = 1_000,
  timeoutMs = 2_500,
}: StoreCheckOptions): () => Promise<string | undefined> {
  let last: { outcome: Promise<string | undefined>; until: number } | undefined;

  async function check(): Promise<string | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<string>((resolve) => {
      timer = setTimeout(() => resolve(`the store did not answer within ${timeoutMs} ms`), timeoutMs);
    });
    const writing = write().then(
      () => undefined,
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    );
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
