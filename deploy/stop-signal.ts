/**
 * A second signal within this time is regarded as the first one: a terminal sends a signal to npm and to this process,
 * and npm then repeats it.
 */
const REPETITION_MS = 300;

const controller = new AbortController();

/**
 * Aborted by the first SIGINT or SIGTERM; the reason is the signal's name. A second signal ends the process at once.
 * The handlers are set when this module is loaded: a process that runs as PID 1 of a container ignores a signal without
 * a handler.
 */
export const stopSignal = controller.signal;

let stoppingSince: number | undefined;
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.on(signal, () => {
    if (stoppingSince === undefined) {
      stoppingSince = performance.now();
      controller.abort(signal);
    } else if (performance.now() - stoppingSince >= REPETITION_MS) process.exit(1);
  });
