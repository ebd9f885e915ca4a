import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Bytes that may come together before they are looked through. */
const GROWTH_BYTES = 8 * 1024 * 1024;
const LOOK_MS = 250;

/**
 * Collects garbage whenever heap and buffers together have grown by so much since the last time. V8 alone lets the heap
 * grow to twice what is in use, and buffers, which hold the pictures, by 64 MB: on a Pi that memory is worth more than
 * the 20 to 50 ms which it costs after a large picture.
 */
export function collectGarbageEarly(): void {
  setFlagsFromString("--expose-gc");
  // NODE_OPTIONS does not take that flag, and only a context made after it was set has the function.
  const collect: unknown = runInNewContext("gc");
  if (typeof collect !== "function") return;
  let kept = 0;
  setInterval(() => {
    if (inUse() - kept < GROWTH_BYTES) return;
    collect();
    kept = inUse();
  }, LOOK_MS).unref();
}

function inUse(): number {
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}
