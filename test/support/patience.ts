import { vi } from "vitest";

/**
 * The timeout of `expect.poll`. It matters only if a test hangs. Vitest's default of 1 s is too short on a busy
 * machine.
 */
const PATIENCE_MS = 60_000;

const { waitFor, waitUntil } = vi;
const patiently = (options: number | { timeout?: number; interval?: number } = {}) =>
  typeof options === "number" ? options : { timeout: PATIENCE_MS, ...options };
const isPatient = "isPatient" in waitFor;

// This module runs before each test file, and the files of one worker share `vi`: do not wrap its functions twice.
if (!isPatient) {
  vi.waitFor = Object.assign<typeof waitFor, object>((callback, options) => waitFor(callback, patiently(options)), {
    isPatient: true,
  });
  vi.waitUntil = (callback, options) => waitUntil(callback, patiently(options));
}
