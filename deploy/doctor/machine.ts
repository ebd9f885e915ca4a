import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { type Finding, ok, warn, wrong } from "./finding.ts";

/** A clock that shows an earlier time is wrong, because this program did not exist at that time. */
const EARLIEST = Date.parse("2026-01-01T00:00:00Z");
/** Files that a server opens in addition to its connections. */
const OTHER_FILES = 500;
const TIMEOUT_MS = 3_000;

/** The end of life of each version of Node.js, after which the version gets no security updates. */
const NODE_END_OF_LIFE: Readonly<Record<number, string>> = {
  20: "2026-04-30",
  21: "2024-06-01",
  22: "2027-04-30",
  23: "2025-06-01",
  24: "2028-04-30",
};
const RECOMMENDED_NODE = 24;

/** @param needed such as `>=20.19` @param now milliseconds since 1970 */
export function checkNode(version: string, needed: string, now: number): Finding {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [neededMajor = 0, neededMinor = 0] = needed.replace(/^\D+/, "").split(".").map(Number);
  if (major < neededMajor || (major === neededMajor && minor < neededMinor))
    return wrong("Node.js", `${version} is too old: install Node.js ${RECOMMENDED_NODE}`);
  const endOfLife = NODE_END_OF_LIFE[major];
  if (endOfLife === undefined || now < Date.parse(endOfLife)) return ok("Node.js", version);
  const problem = `${version} works, but has had no security updates since ${endOfLife}`;
  return warn("Node.js", `${problem}: install Node.js ${RECOMMENDED_NODE}`);
}

/**
 * The most files and sockets that a process may open; undefined if the limit is unknown. This is the hard limit,
 * because Node.js raises the soft limit to the hard limit.
 */
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
  if (limit >= needed) return ok("open files", `the limit is ${limit}`);
  const allowed = Number.isFinite(needed) ? String(maxConnections + maxMqttClients) : "any number of";
  const problem = `the limit is ${limit}, but MAX_CONNECTIONS and MAX_MQTT_CLIENTS allow ${allowed} connections`;
  const advice = "raise the limit (ulimit -n, LimitNOFILE= of systemd), or lower these settings";
  return warn("open files", `${problem}: ${advice}`);
}

/** @param now milliseconds since 1970 */
export async function checkClock(now: number): Promise<Finding> {
  const shown = new Date(now).toISOString();
  if (now < EARLIEST) return wrong("clock", `it shows ${shown}: set it, and synchronise it (timedatectl set-ntp true)`);
  const synchronised = await promisify(execFile)("timedatectl", ["show", "-p", "NTPSynchronized", "--value"], {
    timeout: TIMEOUT_MS,
  }).then(
    ({ stdout }) => stdout.trim(),
    () => "unknown",
  );
  if (synchronised === "no")
    return warn("clock", `it shows ${shown} and is not synchronised: run timedatectl set-ntp true, or install chrony`);
  return ok("clock", `${shown}${synchronised === "yes" ? ", synchronised" : ""}`);
}
