import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { IMAGE, podman } from "./installation.ts";

const NAME = "skylapse-test-stop";
const PORT = "18998";
/** Docker kills a container 10 s after its SIGTERM. A busy machine may need longer, so the printed times tell. */
const STOP_TIMEOUT_MS = 60_000;
const SIGTTIN_BIT = 1n << 20n;
const READY_TIMEOUT_MS = 120_000;
/** Milliseconds after the start; undefined: as soon as /readyz answers. */
const MOMENTS = [0, 100, 300, 600, 1000, 1500, 2500, 4000, undefined, undefined, undefined];

/** SIGTERM at several moments of the start of a container with a simulated camera. @throws {Error} the exit code is not 0 */
export async function demandCleanStops(): Promise<string> {
  try {
    for (const moment of MOMENTS) await stopAt(moment);
  } finally {
    await podman("rm", "-f", "-t", "0", "-v", NAME).catch(() => undefined);
  }
  return `${MOMENTS.length} moments, exit code 0 each`;
}

async function stopAt(moment: number | undefined): Promise<void> {
  await podman("rm", "-f", "-t", "0", "-v", NAME).catch(() => undefined);
  await podman(
    ...["run", "-d", "--name", NAME, "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"],
    ...["--tmpfs", "/tmp", "-e", "SIMULATOR=1", "-p", `127.0.0.1:${PORT}:8082`],
    ...["-e", `JWT_SECRET=${"j".repeat(32)}`, "-e", `OPERATOR_KEY=${"o".repeat(32)}`, IMAGE],
  );
  // Signals go to the process itself: `podman kill` takes longer than some of these moments.
  const pid = Number(await podman("inspect", "-f", "{{.State.Pid}}", NAME));
  await untilInitTakesSignals(pid);
  if (moment === undefined) await ready();
  else await sleep(moment);
  const sentAt = performance.now();
  process.kill(pid, "SIGTERM");
  const code = await Promise.race([podman("wait", NAME), sleep(STOP_TIMEOUT_MS, "still running", { ref: false })]);
  const when = moment === undefined ? "at /readyz" : `after ${moment} ms`;
  process.stdout.write(`SIGTERM ${when}: ${code}, ${(performance.now() - sentAt).toFixed(0)} ms\n`);
  if (code !== "0") throw new Error(`SIGTERM ${when}: ${code} instead of exit code 0`);
}

/**
 * The kernel discards a signal to PID 1 of a container until the program has prepared for the signal. tini prepares by
 * blocking all signals, and ignores SIGTTIN afterwards.
 */
async function untilInitTakesSignals(pid: number): Promise<void> {
  const ignored = () => /^SigIgn:\s*(\w+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "0";
  while ((BigInt(`0x${ignored()}`) & SIGTTIN_BIT) === 0n) await sleep(5);
}

async function ready(): Promise<void> {
  const end = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    const answer = await fetch(`http://127.0.0.1:${PORT}/readyz`).catch(() => undefined);
    if (answer?.ok) return;
    if (performance.now() > end) throw new Error("the container did not become ready");
    await sleep(5);
  }
}
