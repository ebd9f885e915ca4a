/** Loaded into the Node.js servers under test. Reports their memory on request. */

export interface Memory {
  /** Resident set, bytes. */
  rss: number;
  /** JavaScript heap and external buffers after garbage collection, bytes. */
  used: number;
}

process.on("message", async (request) => {
  if (request !== "memory") return;
  // Collects several times, because each collection frees what the finalizers of the previous collection released.
  for (let times = 0; times < 3; times++) {
    globalThis.gc?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { rss, heapUsed, external } = process.memoryUsage();
  const memory: Memory = { rss, used: heapUsed + external };
  process.send?.(JSON.stringify(memory));
});
// The probe must not keep a stopping server alive.
process.channel?.unref();
