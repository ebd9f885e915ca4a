import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

const GROWTH_BYTES = 8 * 1024 * 1024;
const CHECK_INTERVAL_MS = 250;

/**
 * Collects garbage after every 8 MiB of growth. By default V8 lets the heap double, and lets the buffers, which hold
 * the pictures, grow by 64 MB. A Raspberry Pi needs that memory more than the 20 to 50 ms of a collection after a large
 * picture.
 */
export function collectGarbageEarly(): void {
  setFlagsFromString("--expose-gc");
  // The flag is set here, because NODE_OPTIONS does not allow it. Only contexts created later have the function `gc`.
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
