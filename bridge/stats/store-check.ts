export interface StoreCheckOptions {
  /** Writes something to the store; throws when that does not work. */
  write: () => Promise<void>;
  /** The outcome of one write answers for so long. Default 1,000. */
  keptMs?: number;
  /** A write that takes longer has failed. Default 2,500. */
  timeoutMs?: number;
}

/**
 * Tells whether the store takes writes, by writing. However often it is asked, it writes once at a time, and rests
 * between two writes, so that a flood of probes is no flood of writes.
 * @returns asks; resolves to why the store takes none, or undefined, and never rejects
 */
export function createStoreCheck({
  write,
  keptMs = 1_000,
  timeoutMs = 2_500,
}: StoreCheckOptions): () => Promise<string | undefined> {
  let known: { outcome: Promise<string | undefined>; until: number } | undefined;

  async function check(): Promise<string | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<string>((resolve) => {
      timer = setTimeout(() => resolve(`the store does not answer within ${timeoutMs} ms`), timeoutMs);
    });
    const writing = write().then(
      () => undefined,
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    );
    const outcome = await Promise.race([writing, patience]);
    clearTimeout(timer);
    return outcome;
  }

  return () => {
    if (known === undefined || performance.now() >= known.until) {
      const mine = { outcome: check(), until: Number.POSITIVE_INFINITY };
      known = mine;
      void mine.outcome.then(() => {
        mine.until = performance.now() + keptMs;
      });
    }
    return known.outcome;
  };
}
