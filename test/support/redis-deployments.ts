import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Redis } from "ioredis";
import { expect, vi } from "vitest";
import { z } from "zod";
import { entriesOf, readChunk } from "../../bridge/journal/stores/redis/chunk.ts";
import { freePort } from "./ports.ts";
import { type RedisServer, startRedis } from "./redis.ts";

const run = promisify(execFile);
const SENTINELS = 3;
const SHARDS = 3;
const WAIT = { timeout: 60_000, interval: 20 };

/** Redis with a replica that takes over when its master does not answer for two seconds. */
export interface RedisDeployment {
  /** For `REDIS_URL`. */
  url: string;
  /** The master of the keys with the hash tag `skylapse`. */
  master(): RedisServer;
  replica(): RedisServer;
  /** Ends the replication, until the replica continues: it keeps what it has. */
  cutReplica(): Promise<void>;
  /** Resolves when the replica has become the master. From then on, {@link master} is this one. */
  promoted(): Promise<void>;
  /** Starts the master that was killed, or continues the one that was frozen. It becomes a replica within seconds. */
  bringBack(): Promise<void>;
  /** The value of the key at the master. */
  read(key: string): Promise<string | null>;
  remove(): Promise<void>;
}

type Settings = readonly string[];

export function startDeployment(kind: "Sentinel" | "Cluster", settings: Settings = []): Promise<RedisDeployment> {
  return kind === "Sentinel" ? startSentinels(settings) : startCluster(settings);
}

async function startSentinels(settings: Settings): Promise<RedisDeployment> {
  const first = await startRedis({ args: settings });
  const second = await startRedis({ args: [...settings, "--replicaof", "127.0.0.1", String(first.port)] });
  const sentinels = await Promise.all(Array.from({ length: SENTINELS }, () => startSentinel(first.port)));
  const pair = new Pair(first, second, (master) => ["--replicaof", "127.0.0.1", String(master.port)]);
  await pair.replicated();
  for (const { port } of sentinels) {
    await vi.waitFor(async () => {
      const state = await ask(port, (redis) => redis.call("SENTINEL", "CKQUORUM", "mymaster"));
      expect(state).toContain(`OK ${SENTINELS} usable`);
      expect(fields(await ask(port, (redis) => redis.call("SENTINEL", "MASTER", "mymaster")))).toContain(
        "num-slaves=1",
      );
    }, WAIT);
  }
  return pair.deployment(
    `redis+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join(",")}/mymaster`,
    async () => {
      for (const sentinel of sentinels) await sentinel.remove();
    },
  );
}

async function startSentinel(masterPort: number): Promise<{ port: number; remove(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "skylapse-sentinel-"));
  const port = await freePort();
  const file = join(folder, "sentinel.conf");
  const lines = [
    ...[`port ${port}`, "bind 127.0.0.1", `sentinel monitor mymaster 127.0.0.1 ${masterPort} 2`],
    ...["sentinel down-after-milliseconds mymaster 2000", "sentinel failover-timeout mymaster 5000"],
  ];
  await writeFile(file, `${lines.join("\n")}\n`);
  const child = spawn("redis-server", [file, "--sentinel"], { stdio: "ignore" });
  await vi.waitFor(() => ask(port, (redis) => redis.ping()), WAIT);
  return {
    port,
    async remove() {
      await end(child);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** One replica for each master. */
async function startCluster(settings: Settings): Promise<RedisDeployment> {
  const servers: RedisServer[] = [];
  for (let index = 0; index < 2 * SHARDS; index++) {
    const bus = ["--cluster-port", String(await freePort())];
    const cluster = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", ...bus];
    servers.push(await startRedis({ args: [...settings, ...cluster] }));
  }
  const addresses = servers.map(({ port }) => `127.0.0.1:${port}`);
  await run("redis-cli", ["--cluster", "create", ...addresses, "--cluster-replicas", "1", "--cluster-yes"]);
  const serverAt = (port: unknown) => servers.find((server) => server.port === port);
  const pairOf = async () => {
    const [slot, ranges] = await ask(addressPort(addresses[0]), (redis) =>
      Promise.all([redis.cluster("KEYSLOT", "{skylapse}"), redis.cluster("SLOTS")]),
    );
    const range = z
      .array(slotsSchema)
      .parse(ranges)
      .find(([from, to]) => from <= slot && slot <= to);
    const [, , master, replica] = range ?? [];
    const [one, other] = [serverAt(master?.[1]), serverAt(replica?.[1])];
    if (one === undefined || other === undefined) throw new Error("the cluster is not complete");
    return new Pair(one, other, () => []);
  };
  const pair = await vi.waitFor(pairOf, WAIT);
  await pair.replicated();
  for (const { port } of servers)
    await vi.waitFor(
      async () => expect(await ask(port, (redis) => redis.cluster("INFO"))).toContain("cluster_state:ok"),
      WAIT,
    );
  return pair.deployment(`redis+cluster://${addresses.join(",")}`, async () => {
    for (const server of servers) await server.remove();
  });
}

const serverSchema = z.tuple([z.string(), z.number()]).rest(z.unknown());
const slotsSchema = z.tuple([z.number(), z.number(), serverSchema]).rest(serverSchema);

/** A master and its replica, which change places. */
class Pair {
  #master: RedisServer;
  #replica: RedisServer;
  readonly #argsOfReplica: (master: RedisServer) => Settings;

  constructor(master: RedisServer, replica: RedisServer, argsOfReplica: (master: RedisServer) => Settings) {
    this.#master = master;
    this.#replica = replica;
    this.#argsOfReplica = argsOfReplica;
  }

  deployment(url: string, removeOthers: () => Promise<void>): RedisDeployment {
    return {
      url,
      master: () => this.#master,
      replica: () => this.#replica,
      cutReplica: async () => {
        // A frozen replica cannot connect again.
        this.#replica.process.kill("SIGSTOP");
        await ask(this.#master.port, (redis) => redis.call("CLIENT", "KILL", "TYPE", "replica"));
      },
      promoted: () => this.#promoted(),
      bringBack: () => this.#bringBack(),
      read: (key) => ask(this.#master.port, (redis) => redis.get(key)),
      remove: async () => {
        await Promise.all([this.#master.remove(), this.#replica.remove()]);
        await removeOthers();
      },
    };
  }

  async replicated(): Promise<void> {
    await vi.waitFor(async () => expect(await infoOf(this.#replica)).toContain("master_link_status:up"), WAIT);
    await vi.waitFor(
      async () => expect(await ask(this.#master.port, (redis) => redis.wait(1, 1_000))).toBeGreaterThanOrEqual(1),
      WAIT,
    );
  }

  async #promoted(): Promise<void> {
    await vi.waitFor(async () => expect(await infoOf(this.#replica)).toContain("role:master"), WAIT);
    [this.#master, this.#replica] = [this.#replica, this.#master];
  }

  async #bringBack(): Promise<void> {
    const { process } = this.#replica;
    if (process.signalCode === null && process.exitCode === null) process.kill("SIGCONT");
    else await this.#replica.start(this.#argsOfReplica(this.#master));
  }
}

async function ask<Reply>(port: number, command: (redis: Redis) => Promise<Reply>): Promise<Reply> {
  const redis = new Redis({ port, host: "127.0.0.1", retryStrategy: () => null, commandTimeout: 5_000 });
  redis.on("error", () => {});
  try {
    return await command(redis);
  } finally {
    redis.disconnect();
  }
}

function infoOf({ port }: RedisServer): Promise<string> {
  return ask(port, (redis) => redis.info("replication"));
}

function addressPort(address: string | undefined): number {
  return Number(address?.split(":")[1]);
}

/** @param reply names and values: a list, or with RESP3 a map */
function fields(reply: unknown): string[] {
  if (!Array.isArray(reply)) return Object.entries(reply ?? {}).map(([name, value]) => `${name}=${value}`);
  return reply.flatMap((name, index) => (index % 2 === 0 ? [`${name}=${reply[index + 1]}`] : []));
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

/** The numbers of the camera's events in the journal of this Redis. */
export async function journalled({ port }: RedisServer, camera: string): Promise<Set<number>> {
  const rows = await ask(port, (redis) => redis.xrangeBuffer("{skylapse}:journal:log", "-", "+"));
  const entries = rows.flatMap(([id, fields]) => entriesOf(readChunk(id, fields)));
  const events = entries.filter((entry) => entry.camera === camera && entry.topic.endsWith("/capture.completed"));
  return new Set(events.map(({ body }) => eventSchema.parse(JSON.parse(`{${body}}`)).data.n));
}

const eventSchema = z.object({ data: z.object({ n: z.number() }) });
