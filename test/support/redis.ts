import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { freePort } from "./ports.ts";

export interface RedisServer {
  /** `redis://127.0.0.1:port` */
  url: string;
  port: number;
  /** For freezing or killing the process. */
  readonly process: ChildProcess;
  /** Ends Redis. After `SIGKILL`, Redis cannot save any data. */
  stop(signal?: "SIGTERM" | "SIGKILL"): Promise<void>;
  /** Restarts Redis on the same port with its data. @param args further options */
  start(args?: readonly string[]): Promise<void>;
  /** Restarts Redis on the same port without data. */
  startEmpty(): Promise<void>;
  /** Ends Redis and removes its data. */
  remove(): Promise<void>;
}

/** A real redis-server with AOF on a free port of 127.0.0.1. */
export async function startRedis(options: { args?: readonly string[] } = {}): Promise<RedisServer> {
  const dataPath = await mkdtemp(join(tmpdir(), "skylapse-redis-"));
  const port = await freePort();
  let child = await run();

  async function run(args: readonly string[] = []): Promise<ChildProcess> {
    const server = spawn(
      "redis-server",
      [
        ...["--bind", "127.0.0.1", "--port", String(port), "--dir", dataPath, "--save", ""],
        // Without fsync, every answer follows its write to the file, so `SIGKILL` loses nothing. With `everysec`, writes
        // wait for a slow fsync and answers do not.
        ...["--appendonly", "yes", "--appendfsync", "no", "--maxmemory-policy", "noeviction"],
        ...(options.args ?? []),
        ...args,
      ],
      { stdio: "ignore" },
    );
    await answers(port, server);
    return server;
  }

  async function stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill(signal);
    // A frozen process reacts only to SIGKILL.
    child.kill("SIGCONT");
    await ended;
  }

  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    get process() {
      return child;
    },
    stop,
    async start(args) {
      child = await run(args);
    },
    async startEmpty() {
      await rm(join(dataPath, "appendonlydir"), { recursive: true, force: true });
      child = await run();
    },
    async remove() {
      await stop("SIGKILL");
      await rm(dataPath, { recursive: true, force: true });
    },
  };
}

async function answers(port: number, server: ChildProcess): Promise<void> {
  const client = new Redis({
    port,
    host: "127.0.0.1",
    // Retries until the server listens and has loaded its data.
    retryStrategy: () => (server.exitCode === null ? 20 : null),
    maxRetriesPerRequest: null,
  });
  // Connections are refused until Redis listens.
  client.on("error", () => undefined);
  try {
    await client.ping();
  } finally {
    client.disconnect();
  }
}
