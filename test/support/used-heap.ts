import { Session } from "node:inspector";

/**
 * Bytes in use in this process after garbage collection: the JavaScript heap, without the buffers outside it, which are
 * freed some time after their collection.
 */
export function usedHeapBytes(): number {
  const session = new Session();
  session.connect();
  // The second collection frees the memory that the finalizers of the first collection released.
  for (let time = 0; time < 2; time++) session.post("HeapProfiler.collectGarbage");
  session.disconnect();
  return process.memoryUsage().heapUsed;
}
