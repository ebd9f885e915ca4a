/**
 * Something that went wrong without ending anything: a frame that is not of the protocol, a listener that threw, a
 * storage that is full. `detail` is for a developer's console.
 */
export interface Problem {
  kind: "bad_frame" | "listener_failed" | "request_failed" | "order" | "storage" | "token";
  message: string;
  detail?: unknown;
}

export type ProblemReporter = (problem: Problem) => void;

/** The default: a line on the console. */
export const reportOnConsole: ProblemReporter = ({ kind, message, detail }) => {
  console.warn(`skylapse: ${kind}: ${message}`, ...(detail === undefined ? [] : [detail]));
};

/** Calls a listener of the application; what it throws is reported, for one broken listener must not stop the others. */
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
