/** A failure that did not end a connection or a subscription. `detail` is for the console. */
export interface Problem {
  kind: "bad_frame" | "listener_failed" | "request_failed" | "order" | "storage" | "token";
  message: string;
  detail?: unknown;
}

export type ProblemReporter = (problem: Problem) => void;

export const reportOnConsole: ProblemReporter = ({ kind, message, detail }) => {
  console.warn(`skylapse: ${kind}: ${message}`, ...(detail === undefined ? [] : [detail]));
};

/** Calls a listener of the application, and reports an error of the listener instead of throwing. */
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
