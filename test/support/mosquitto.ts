import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "./ports.ts";
import { MOSQUITTO } from "./programs.ts";

/** A real Mosquitto, in whose folder tests can put further files. */
export interface Mosquitto {
  port: number;
  /** `mqtt://127.0.0.1:…` */
  url: string;
  folder: string;
  /** Its log so far. */
  log(): string;
  /** Ends it. SIGTERM saves its store; SIGKILL loses what it has not saved. */
  stop(signal?: "SIGTERM" | "SIGKILL"): Promise<void>;
  /** Starts it again on the same port. */
  start(): Promise<void>;
  /** Ends it and removes its folder. */
  remove(): Promise<void>;
}

export interface MosquittoOptions {
  /** Lines for its configuration after `allow_anonymous true`, each port and folder given. Default: none. */
  lines?: (place: { folder: string; port: number }) => readonly string[];
  /** Whether it keeps sessions and retained messages over a restart. Default false. */
  isPersistent?: boolean;
  /** Default true: `listener PORT 127.0.0.1` and anonymous clients. */
  hasListener?: boolean;
}

/** The lines that docs/mqtt.md asks for beside a server with `MQTT_URL`. */
const UNLIMITED = ["max_queued_messages 0", "max_inflight_messages 1000"];

export async function startMosquitto(options: MosquittoOptions = {}): Promise<Mosquitto> {
  const { lines = () => [], isPersistent = false, hasListener = true } = options;
  const folder = mkdtempSync(join(tmpdir(), "skylapse-mosquitto-"));
  const port = await freePort();
  const config = join(folder, "mosquitto.conf");
  const text = [
    ...(hasListener ? [`listener ${port} 127.0.0.1`, "allow_anonymous true"] : []),
    // Otherwise Mosquitto drops root's privileges and cannot read its configuration.
    ...(process.getuid?.() === 0 ? ["user root"] : []),
    ...(isPersistent ? ["persistence true", `persistence_location ${folder}/`] : []),
    ...UNLIMITED,
    "set_tcp_nodelay true",
    ...lines({ folder, port }),
  ];
  let child: ChildProcess;
  let log = "";

  async function start(): Promise<void> {
    writeFileSync(config, `${text.join("\n")}\n`);
    child = spawn(MOSQUITTO, ["-c", config], { stdio: ["ignore", "ignore", "pipe"] });
    const from = log.length;
    await new Promise<void>((resolve, reject) => {
      child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
        log += chunk;
        if (log.includes("running", from)) resolve();
      });
      child.once("close", () => reject(new Error(`mosquitto ended:\n${log}`)));
    });
  }

  async function stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, "close");
    child.kill(signal);
    await closed;
  }

  await start();
  return {
    ...{ port, url: `mqtt://127.0.0.1:${port}`, folder, log: () => log, stop, start },
    async remove() {
      await stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
