import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { expect, vi } from "vitest";
import { freePort } from "./ports.ts";

export interface Sentinel {
  /** `redis+sentinel://127.0.0.1:port/mymaster` */
  url: string;
  /** Resolves when the Sentinel knows the replica, and the replica has all data of the master. */
  knowsReplica(): Promise<void>;
  /** Makes the replica the master. */
  failover(): Promise<void>;
  stop(): Promise<void>;
}

/** A real Sentinel that promotes a replica when the master is down for two seconds. */
export async function startSentinel(masterPort: number): Promise<Sentinel> {
  const folder = await mkdtemp(join(tmpdir(), "skylapse-sentinel-"));
  const port = await freePort();
  const file = join(folder, "sentinel.conf");
  const settings = [
    `port ${port}`,
    "bind 127.0.0.1",
    `sentinel monitor mymaster 127.0.0.1 ${masterPort} 1`,
    "sentinel down-after-milliseconds mymaster 2000",
    "sentinel failover-timeout mymaster 5000",
  ];
  await writeFile(file, `${settings.join("\n")}\n`);
  const child = spawn("redis-server", [file, "--sentinel"], { stdio: "ignore" });
  const client = new Redis({ port, host: "127.0.0.1", retryStrategy: () => 20, maxRetriesPerRequest: null });
  // Connections are refused until the Sentinel listens.
  client.on("error", () => undefined);
  return {
    url: `redis+sentinel://127.0.0.1:${port}/mymaster`,
    async knowsReplica() {
      await vi.waitFor(
        async () => {
          const found = await client.call("SENTINEL", "replicas", "mymaster");
          const [replica] = Array.isArray(found) ? found : [];
          expect(linkOf(replica)).toBe("ok");
        },
        { timeout: 60_000, interval: 100 },
      );
      const master = new Redis(masterPort, "127.0.0.1");
      await vi.waitFor(async () => expect(await master.wait(1, 1_000)).toBe(1), { timeout: 60_000, interval: 100 });
      master.disconnect();
    },
    async failover() {
      await client.call("SENTINEL", "failover", "mymaster");
    },
    async stop() {
      client.disconnect();
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** @param replica the fields of a replica: a map with RESP3, otherwise a list of names and values */
function linkOf(replica: unknown): string | undefined {
  const flat = Array.isArray(replica)
    ? replica.map(String)
    : Object.entries(replica ?? {})
        .flat()
        .map(String);
  return flat[flat.indexOf("master-link-status") + 1];
}
