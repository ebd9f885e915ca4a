import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, rmSync, writeFileSync } from "node:fs";

interface Program {
  /** Exits with 0 if the program exists. */
  probe: readonly [command: string, ...args: string[]];
  debianPackage: string;
  usedFor: string;
}

export const CHROMIUM = process.env.CHROMIUM_PATH ?? "/usr/bin/chromium";
/** Debian's Python, which has Debian's python3-paho-mqtt and python3-websockets. */
export const PYTHON = "/usr/bin/python3";
/** Debian keeps the programs of each version in a folder that is not in PATH. */
export const POSTGRES_BIN = "/usr/lib/postgresql/15/bin";
/** Debian installs Mosquitto in a folder that is only in root's PATH. */
export const MOSQUITTO = "/usr/sbin/mosquitto";

const PROGRAMS: readonly Program[] = [
  {
    probe: ["test", "-x", MOSQUITTO],
    debianPackage: "mosquitto",
    usedFor: "the MQTT broker that benchmarks compare with",
  },
  { probe: ["which", "mosquitto_pub", "mosquitto_sub"], debianPackage: "mosquitto-clients", usedFor: "MQTT clients" },
  { probe: [CHROMIUM, "--version"], debianPackage: "chromium", usedFor: "the dashboard page in a real browser" },
  { probe: [PYTHON, "-c", "import paho.mqtt.client"], debianPackage: "python3-paho-mqtt", usedFor: "MQTT from Python" },
  { probe: [PYTHON, "-c", "import websockets"], debianPackage: "python3-websockets", usedFor: "WebSocket from Python" },
  { probe: ["ffmpeg", "-version"], debianPackage: "ffmpeg", usedFor: "the films of the processing service" },
  { probe: ["redis-server", "--version"], debianPackage: "redis-server", usedFor: "several nodes that share a store" },
  { probe: ["/usr/sbin/nginx", "-v"], debianPackage: "nginx", usedFor: "the shipped configuration of a proxy" },
  { probe: ["caddy", "version"], debianPackage: "caddy", usedFor: "the shipped configuration of a proxy" },
  {
    probe: ["test", "-x", `${POSTGRES_BIN}/postgres`],
    debianPackage: "postgresql-15",
    usedFor: "the archive in PostgreSQL",
  },
  { probe: ["shellcheck", "--version"], debianPackage: "shellcheck", usedFor: "the scripts of a deployment" },
  { probe: ["curl", "--version"], debianPackage: "curl", usedFor: "the documented HTTP calls" },
  { probe: ["systemd-analyze", "--version"], debianPackage: "systemd", usedFor: "the units of server and camera" },
  { probe: ["openssl", "version"], debianPackage: "openssl", usedFor: "certificates for TLS" },
  {
    probe: ["promtool", "--version"],
    debianPackage: "prometheus",
    usedFor: "the metrics and the shipped rules",
  },
];

/** Installs programs for the tests. Throws with instructions if this machine does not allow installing. */
export function installPrograms(): void {
  const missing = PROGRAMS.filter((program) => !works(program));
  if (missing.length === 0) return;
  const packages = missing.map((program) => program.debianPackage);
  const command = `apt-get install -y --no-install-recommends ${packages.join(" ")}`;
  if (existsSync("/usr/bin/apt-get") && process.getuid?.() === 0) {
    process.stdout.write(`Installing what the tests need: ${packages.join(", ")}\n`);
    aptGet(["update"]);
    withoutServices(() => aptGet(command.split(" ").slice(1)));
  }
  const still = missing.filter((program) => !works(program));
  if (still.length === 0) return;
  const lines = still.map(
    (program) => `  ${program.debianPackage}: ${program.usedFor} (${program.probe.join(" ")} does not work)`,
  );
  throw new Error(
    `The tests need programs that are not installed:\n${lines.join("\n")}\nInstall them, on Debian: sudo ${command}`,
  );
}

/** Debian runs this script before a package starts its service. Exit code 101 forbids the start. */
const POLICY = "/usr/sbin/policy-rc.d";

/** Starts no services, because the tests need neither nginx on port 80 nor a system-wide Redis. */
function withoutServices(install: () => void): void {
  if (existsSync(POLICY)) {
    install();
    return;
  }
  writeFileSync(POLICY, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    install();
  } finally {
    rmSync(POLICY);
  }
}

function works({ probe: [command, ...args] }: Program): boolean {
  const { error, status } = spawnSync(command, args, { stdio: "ignore" });
  return error === undefined && status === 0;
}

function aptGet(args: readonly string[]): void {
  execFileSync("apt-get", args, {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
  });
}
