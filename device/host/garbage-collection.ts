import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Growth of memory that starts a garbage collection. */
const GROWTH_BYTES = 8 * 1024 * 1024;
const CHECK_INTERVAL_MS = 250;

/**
 * Collects garbage whenever heap and buffers have grown by 8 MiB since the last time. By default V8 lets the heap grow to
 * twice its live size, and the buffers, which hold the pictures, by 64 MB. On a Raspberry Pi that memory is worth more than
 * the 20 to 50 ms that a collection takes after a large picture.
 */
export function collectGarbageEarly(): void {
  setFlagsFromString("--expose-gc");
  // NODE_OPTIONS does not allow this flag. Only contexts created after the flag was set have the function.
  const collect: unknown = runInNewContext("gc");
  if (typeof collect !== "function") return;
  let afterLast = 0;
  setInterval(() => {
    if (usedBytes() - afterLast < GROWTH_BYTES) return;
    collect();
    afterLast = usedBytes();
  }, CHECK_INTERVAL_MS).unref();
}

function usedBytes(): number {
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}
