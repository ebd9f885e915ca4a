import { vi } from "vitest";

/** As of `expect.poll`: a wait ends with its event, and on a busy machine that may take longer than Vitest's second. */
const PATIENCE_MS = 60_000;

const { waitFor, waitUntil } = vi;
const patiently = (options: number | { timeout?: number; interval?: number } = {}) =>
  typeof options === "number" ? options : { timeout: PATIENCE_MS, ...options };

vi.waitFor = (callback, options) => waitFor(callback, patiently(options));
vi.waitUntil = (callback, options) => waitUntil(callback, patiently(options));
