import type { Redis } from "ioredis";
import type { RedisAddress, RedisLogin, RedisPlace } from "./redis-url.ts";

/** What a Sentinel, or a node of a Redis Cluster, says about the master. */
export interface Claim {
  master: RedisAddress;
  /** Grows with each failover: of two claims, the one with the higher epoch is newer. */
  epoch: number;
  /** Whether another Redis is about to replace the master. */
  isFailingOver: boolean;
}

/** Asks a Sentinel, or a node of a Redis Cluster, for the master, and for others that can be asked. */
export interface Guide {
  login: RedisLogin;
  /** @throws the one that was asked does not know the master */
  claim(client: Redis, asked: RedisAddress): Promise<Claim>;
  others(client: Redis): Promise<RedisAddress[]>;
}

/** @returns undefined for a single Redis @param prefix the prefix of all keys, which decides where a Redis Cluster keeps them */
export function guideOf(place: RedisPlace, prefix: string): Guide | undefined {
  if (place.kind === "sentinel") return sentinelGuide(place);
  return place.kind === "cluster" ? clusterGuide(place, prefix) : undefined;
}

function sentinelGuide(place: Extract<RedisPlace, { kind: "sentinel" }>): Guide {
  const { masterName, sentinelPassword: password, tls } = place;
  return {
    login: { username: undefined, password, tls },
    async claim(client) {
      const reply = await client.call("SENTINEL", "MASTER", masterName).catch((error: unknown) => {
        if (!/No such master/.test(String(error))) throw error;
        throw new Error(`the Sentinels know no master ${masterName}: correct the name at the end of REDIS_URL`);
      });
      const facts = namedFields(reply);
      const flags = facts.get("flags")?.split(",") ?? [];
      const master = addressOf(facts);
      if (master === undefined) throw new Error(`a Sentinel has no address of the master ${masterName}`);
      // Other Sentinels learn of a failover up to two seconds after the one that leads it.
      return {
        master,
        epoch: Number(facts.get("config-epoch")),
        isFailingOver: flags.includes("failover_in_progress"),
      };
    },
    async others(client) {
      const reply = await client.call("SENTINEL", "SENTINELS", masterName).catch(() => []);
      return Array.isArray(reply) ? reply.flatMap((sentinel) => addressOf(namedFields(sentinel)) ?? []) : [];
    },
  };
}

/** @param reply `name`, `…`, `ip`, `127.0.0.1`, `port`, `26379`, … With RESP3, a map of these. */
function namedFields(reply: unknown): ReadonlyMap<string, string> {
  const flat: unknown[] = Array.isArray(reply) ? reply : Object.entries(reply ?? {}).flat();
  const fields = new Map<string, string>();
  for (let index = 0; index + 1 < flat.length; index += 2) fields.set(String(flat[index]), String(flat[index + 1]));
  return fields;
}

function addressOf(fields: ReadonlyMap<string, string>): RedisAddress | undefined {
  const [host, port] = [fields.get("ip"), Number(fields.get("port"))];
  return host !== undefined && Number.isInteger(port) ? { host, port } : undefined;
}

interface ClusterNode extends RedisAddress {
  id: string;
}

function clusterGuide({ username, password, tls }: RedisLogin, prefix: string): Guide {
  const slots = async (client: Redis) => {
    const reply: unknown = await client.cluster("SLOTS");
    return Array.isArray(reply) ? reply.map(readSlots) : [];
  };
  return {
    login: { username, password, tls },
    async claim(client, asked) {
      const [state, slot, ranges, nodes] = await Promise.all([
        client.cluster("INFO"),
        client.cluster("KEYSLOT", prefix),
        slots(client),
        client.cluster("NODES"),
      ]);
      // A node that was cut off or stood still may name a master that the others have replaced.
      if (!String(state).includes("cluster_state:ok")) throw new Error("CLUSTERDOWN The cluster is down");
      const range = ranges.find(({ first, last }) => first <= slot && slot <= last);
      const [master] = range?.nodes ?? [];
      if (master === undefined) throw new Error("CLUSTERDOWN Hash slot not served");
      // id, address, flags, master, ping, pong, epoch, …
      const fields = String(nodes)
        .split("\n")
        .map((line) => line.split(" "))
        .find(([id]) => id === master.id);
      // A node that does not know its own address leaves it out.
      return {
        master: { host: master.host || asked.host, port: master.port },
        epoch: Number(fields?.[6] ?? 0),
        isFailingOver: fields?.[2]?.split(",").includes("fail") ?? false,
      };
    },
    async others(client) {
      const known = (await slots(client)).flatMap(({ nodes }) => nodes);
      return known.filter(({ host }) => host !== "").map(({ host, port }) => ({ host, port }));
    },
  };
}

function readSlots(range: unknown): { first: number; last: number; nodes: ClusterNode[] } {
  const [first, last, ...nodes]: unknown[] = Array.isArray(range) ? range : [];
  return {
    first: Number(first),
    last: Number(last),
    nodes: nodes.map((node) => {
      const [host, port, id]: unknown[] = Array.isArray(node) ? node : [];
      return { host: host === "?" ? "" : String(host ?? ""), port: Number(port), id: String(id) };
    }),
  };
}
