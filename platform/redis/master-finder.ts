import type { Redis } from "ioredis";
import { inTime } from "../in-time.ts";
import { createClient, destroyClient } from "./client.ts";
import type { RedisAddress, RedisLogin, RedisPlace } from "./redis-url.ts";

/** How long a Sentinel or a node of a Redis Cluster may take to answer, milliseconds. */
const ANSWER_TIMEOUT_MS = 1_000;

/** Asks a Sentinel, or a node of a Redis Cluster, for the master, and for others that can be asked. */
interface Guide {
  login: RedisLogin;
  /** @throws the one that was asked does not know the master */
  master(client: Redis, asked: RedisAddress): Promise<RedisAddress>;
  others(client: Redis): Promise<RedisAddress[]>;
}

/**
 * Finds the Redis that holds the keys of this server. Sentinels and a Redis Cluster may name another master at any time;
 * the finder asks over one connection of its own, and over another when there is no answer.
 */
export class MasterFinder {
  readonly #guide: Guide | undefined;
  /** As in `REDIS_URL`. */
  readonly #configured: readonly RedisAddress[];
  /** Sentinels or nodes. The first one is asked first. */
  #candidates: readonly RedisAddress[];
  #scout: { client: Redis; address: RedisAddress } | undefined;
  #changing: Promise<void> | undefined;
  #isClosed = false;

  /** @param prefix the prefix of all keys, which decides where a Redis Cluster keeps them */
  constructor(place: RedisPlace, prefix: string) {
    this.#guide = guideOf(place, prefix);
    this.#configured = place.kind === "sentinel" ? place.sentinels : place.kind === "cluster" ? place.nodes : [place];
    this.#candidates = this.#configured;
  }

  /** Whether the master may become another. */
  get canChange(): boolean {
    return this.#guide !== undefined;
  }

  /** @throws nobody who was asked knows the master */
  async find(): Promise<RedisAddress> {
    const [only] = this.#candidates;
    if (this.#guide === undefined) {
      if (only === undefined) throw new Error("REDIS_URL has no host");
      return only;
    }
    let lastError: unknown = new Error("connect ECONNREFUSED");
    for (let attempt = 0; attempt < this.#candidates.length && !this.#isClosed; attempt++) {
      try {
        const { client, address } = await this.#connected(this.#guide);
        return await inTime(this.#guide.master(client, address), ANSWER_TIMEOUT_MS, lateError);
      } catch (error) {
        lastError = error;
        this.#dismiss();
      }
    }
    throw lastError;
  }

  close(): void {
    this.#isClosed = true;
    if (this.#scout !== undefined) destroyClient(this.#scout.client);
  }

  async #connected(guide: Guide): Promise<{ client: Redis; address: RedisAddress }> {
    this.#changing ??= this.#connect(guide).finally(() => {
      this.#changing = undefined;
    });
    await this.#changing;
    if (this.#scout === undefined) throw new Error("connect ECONNREFUSED");
    return this.#scout;
  }

  async #connect(guide: Guide): Promise<void> {
    if (this.#scout?.client.status === "ready") return;
    const [address] = this.#candidates;
    if (address === undefined) return;
    const client = createClient(address, guide.login, "scout", ANSWER_TIMEOUT_MS);
    this.#scout = { client, address };
    let lastError: unknown;
    client.on("error", (error: unknown) => {
      lastError = error;
    });
    await inTime(client.connect(), ANSWER_TIMEOUT_MS, lateError).catch((error: unknown) => {
      throw lastError ?? error;
    });
    const others = await inTime(guide.others(client), ANSWER_TIMEOUT_MS, lateError);
    const all = [address, ...others, ...this.#configured];
    this.#candidates = all.filter((one, index) => all.findIndex((other) => isSame(one, other)) === index);
    if (this.#isClosed) destroyClient(client);
  }

  /** The next question goes to another one. */
  #dismiss(): void {
    const scout = this.#scout;
    if (scout === undefined) return;
    this.#scout = undefined;
    destroyClient(scout.client);
    this.#candidates = [...this.#candidates.filter((known) => known !== scout.address), scout.address];
  }
}

export function isSame(one: RedisAddress, other: RedisAddress): boolean {
  return one.host === other.host && one.port === other.port;
}

function guideOf(place: RedisPlace, prefix: string): Guide | undefined {
  if (place.kind === "sentinel") return sentinelGuide(place);
  return place.kind === "cluster" ? clusterGuide(place, prefix) : undefined;
}

function sentinelGuide(place: Extract<RedisPlace, { kind: "sentinel" }>): Guide {
  const { masterName, sentinelPassword: password, tls } = place;
  return {
    login: { username: undefined, password, tls },
    async master(client) {
      const reply = await client.call("SENTINEL", "get-master-addr-by-name", masterName);
      const [host, port] = Array.isArray(reply) ? reply.map(String) : [];
      if (host === undefined || port === undefined)
        throw new Error(`the Sentinels know no master ${masterName}: correct the name at the end of REDIS_URL`);
      return { host, port: Number(port) };
    },
    async others(client) {
      const reply = await client.call("SENTINEL", "sentinels", masterName).catch(() => []);
      return Array.isArray(reply) ? reply.flatMap(addressOfSentinel) : [];
    },
  };
}

/** @param fields `name`, `…`, `ip`, `127.0.0.1`, `port`, `26379`, … With RESP3, a map of these. */
function addressOfSentinel(fields: unknown): RedisAddress[] {
  const flat = Array.isArray(fields)
    ? fields.map(String)
    : Object.entries(fields ?? {})
        .flat()
        .map(String);
  const of = (name: string) => flat[flat.indexOf(name) + 1];
  const [host, port] = [of("ip"), Number(of("port"))];
  return host !== undefined && Number.isInteger(port) ? [{ host, port }] : [];
}

function clusterGuide({ username, password, tls }: RedisLogin, prefix: string): Guide {
  const slots = async (client: Redis) => {
    const reply: unknown = await client.cluster("SLOTS");
    return Array.isArray(reply) ? reply.map(readSlots) : [];
  };
  return {
    login: { username, password, tls },
    async master(client, asked) {
      const [state, slot, ranges] = await Promise.all([
        client.cluster("INFO"),
        client.cluster("KEYSLOT", prefix),
        slots(client),
      ]);
      // A node that was cut off or stood still may name a master that the others have replaced.
      if (!String(state).includes("cluster_state:ok")) throw new Error("CLUSTERDOWN The cluster is down");
      const range = ranges.find(({ first, last }) => first <= slot && slot <= last);
      const [master] = range?.nodes ?? [];
      if (master === undefined) throw new Error("CLUSTERDOWN Hash slot not served");
      // A node that does not know its own address leaves it out.
      return { ...master, host: master.host || asked.host };
    },
    async others(client) {
      return (await slots(client)).flatMap(({ nodes }) => nodes).filter(({ host }) => host !== "");
    },
  };
}

function readSlots(range: unknown): { first: number; last: number; nodes: RedisAddress[] } {
  const [first, last, ...nodes]: unknown[] = Array.isArray(range) ? range : [];
  return {
    first: Number(first),
    last: Number(last),
    nodes: nodes.map((node) => {
      const [host, port]: unknown[] = Array.isArray(node) ? node : [];
      return { host: host === "?" ? "" : String(host ?? ""), port: Number(port) };
    }),
  };
}

function lateError(): Error {
  return new Error("connection timed out");
}
