import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { type Finding, ok, warn, wrong } from "./finding.ts";

/** This program did not exist before this time. */
const EARLIEST = Date.parse("2026-01-01T00:00:00Z");
/** Files that a server opens in addition to its connections. */
const OTHER_FILES = 500;
const TIMEOUT_MS = 3_000;

/** @param needed such as `>=20.19` */
export function checkNode(version: string, needed: string): Finding {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [neededMajor = 0, neededMinor = 0] = needed.replace(/^\D+/, "").split(".").map(Number);
  return major > neededMajor || (major === neededMajor && minor >= neededMinor)
    ? ok("Node.js", version)
    : wrong("Node.js", `${version} is too old: install ${needed}`);
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
