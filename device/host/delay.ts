export async function settledWithin(ms: number, work: Promise<unknown> | undefined): Promise<void> {
  const settled = new AbortController();
  await Promise.race([Promise.allSettled([work]), delay(ms, settled.signal)]);
  settled.abort();
}

export function delay(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done, { once: true });
  });
}
