import { fork } from "node:child_process";
import { once } from "node:events";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import type { SimulatorStartMessage } from "./simulate.ts";

/** The longest time for a stop. A slower simulator is killed, and the broker publishes the wills of its cameras. */
const STOP_TIMEOUT_MS = 1200;

/**
 * Runs the simulated cameras in another process, because one picture occupies a core for a quarter of a second. In the
 * process of the server, this would delay the events of real cameras.
 * @param stopSignal when aborted during the start, kills the simulator
 */
export async function startSimulatorProcess(
  message: SimulatorStartMessage,
  stopSignal: AbortSignal,
): Promise<{ stop(): Promise<void> }> {
  const here = fileURLToPath(import.meta.url);
  const program = fileURLToPath(new URL(`./simulate${extname(here)}`, import.meta.url));
  const child = fork(program, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const ended = once(child, "exit");
  child.send(message);
  const kill = () => child.kill("SIGKILL");
  stopSignal.addEventListener("abort", kill);
  // The signal may have been aborted before the listener was added.
  if (stopSignal.aborted) kill();
  const [answer] = await Promise.race([once(child, "message"), ended]);
  stopSignal.removeEventListener("abort", kill);
  if (answer !== "started" && !stopSignal.aborted)
    throw new Error("the simulator could not be started: its error is above");
  let stopping: Promise<void> | undefined;
  return {
    stop: () => (stopping ??= stop()),
  };

  async function stop(): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGTERM");
    const deadline = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await ended;
    clearTimeout(deadline);
  }
}
