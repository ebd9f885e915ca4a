/**
 * A failure that did not end anything, such as an invalid frame, a listener that threw, or a full storage. `detail` is
 * for a developer's console.
 */
export interface Problem {
  kind: "bad_frame" | "listener_failed" | "request_failed" | "order" | "storage" | "token";
  message: string;
  detail?: unknown;
}

export type ProblemReporter = (problem: Problem) => void;

/** The default reporter: writes a warning to the console. */
export const reportOnConsole: ProblemReporter = ({ kind, message, detail }) => {
  console.warn(`skylapse: ${kind}: ${message}`, ...(detail === undefined ? [] : [detail]));
};

/** Calls a listener of the application. If it throws, the failure is reported, and other listeners are still called. */
export function callListener<Arguments extends unknown[]>(
  report: ProblemReporter,
  listener: ((...args: Arguments) => void) | undefined,
  ...args: Arguments
): void {
  if (listener === undefined) return;
  try {
    listener(...args);
  } catch (error) {
    report({ kind: "listener_failed", message: "a listener threw", detail: error });
  }
}
