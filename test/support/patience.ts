import { vi } from "vitest";

/** The timeout of `expect.poll`. It only ends a hang. Vitest's default of 1 s is too short on a busy machine. */
const PATIENCE_MS = 60_000;

const { waitFor, waitUntil } = vi;
const patiently = (options: number | { timeout?: number; interval?: number } = {}) =>
  typeof options === "number" ? options : { timeout: PATIENCE_MS, ...options };

vi.waitFor = (callback, options) => waitFor(callback, patiently(options));
vi.waitUntil = (callback, options) => waitUntil(callback, patiently(options));
