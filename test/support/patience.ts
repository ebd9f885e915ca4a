import { vi } from "vitest";

/** For `expect.poll`. Only ends a hang: on a busy machine, an event may take longer than Vitest's default second. */
const PATIENCE_MS = 60_000;

const { waitFor, waitUntil } = vi;
const patiently = (options: number | { timeout?: number; interval?: number } = {}) =>
  typeof options === "number" ? options : { timeout: PATIENCE_MS, ...options };

vi.waitFor = (callback, options) => waitFor(callback, patiently(options));
vi.waitUntil = (callback, options) => waitUntil(callback, patiently(options));
