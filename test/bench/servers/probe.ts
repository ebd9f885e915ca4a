/** Loaded into the servers under test that run on Node: says on request how much memory they use. */

export interface Memory {
  /** Resident set, bytes. */
  rss: number;
  /** What the program holds: JavaScript heap and buffers outside of it, bytes, after garbage collection. */
  used: number;
}

process.on("message", async (request) => {
  if (request !== "memory") return;
  // Finalizers of the first collection free what only the second can collect.
  for (let times = 0; times < 3; times++) {
    globalThis.gc?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { rss, heapUsed, external } = process.memoryUsage();
  const memory: Memory = { rss, used: heapUsed + external };
  process.send?.(JSON.stringify(memory));
});
// Asking must not keep a server alive that wants to end.
process.channel?.unref();
