import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { type Finding, ok, warn, wrong } from "./finding.ts";

/** Before this program was written no clock was right. */
const EARLIEST = Date.parse("2026-01-01T00:00:00Z");
/** Files that a server has open besides its connections. */
const OTHER_FILES = 500;
const TIMEOUT_MS = 3_000;

/** @param needed such as `>=20.19` */
export function checkNode(version: string, needed: string): Finding {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [neededMajor = 0, neededMinor = 0] = needed.replace(/^\D+/, "").split(".").map(Number);
  return major > neededMajor || (major === neededMajor && minor >= neededMinor)
    ? ok("Node.js", version)
    : wrong("Node.js", `${version} is too old, ${needed} is needed: install a newer one`);
}

/** How many files, sockets among them, a process may open; undefined where that is not known. Node takes all it may have. */
export function openFileLimit(): number | undefined {
  try {
    const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return hard === undefined ? undefined : hard === "unlimited" ? Number.POSITIVE_INFINITY : Number(hard);
  } catch {
    return undefined;
  }
}

export function checkOpenFiles(limit: number, maxConnections: number, maxMqttClients: number): Finding {
  const needed = maxConnections + maxMqttClients + OTHER_FILES;
  if (limit >= needed) return ok("open files", `${limit} may be open`);
  const allowed = Number.isFinite(needed) ? String(maxConnections + maxMqttClients) : "any number of";
  return warn(
    "open files",
    `${limit} may be open, but MAX_CONNECTIONS and MAX_MQTT_CLIENTS allow ${allowed} connections: ` +
      "raise the limit (ulimit -n, LimitNOFILE= of systemd), or lower them",
  );
}

/** @param now milliseconds since 1970 */
export async function checkClock(now: number): Promise<Finding> {
  const shown = new Date(now).toISOString();
  if (now < EARLIEST)
    return wrong("clock", `it says ${shown}: set it, and have it synchronised (timedatectl set-ntp true)`);
  const synchronised = await promisify(execFile)("timedatectl", ["show", "-p", "NTPSynchronized", "--value"], {
    timeout: TIMEOUT_MS,
  }).then(
    ({ stdout }) => stdout.trim(),
    () => "unknown",
  );
  if (synchronised === "no")
    return warn("clock", `it says ${shown}, but is not synchronised: timedatectl set-ntp true, or install chrony`);
  return ok("clock", `${shown}${synchronised === "yes" ? ", synchronised" : ""}`);
}
