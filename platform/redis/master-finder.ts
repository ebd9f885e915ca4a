import { setTimeout as after } from "node:timers/promises";
import type { Redis } from "ioredis";
import { inTime } from "../in-time.ts";
import { createClient, destroyClient } from "./client.ts";
import { type Claim, type Guide, guideOf } from "./guides.ts";
import type { RedisAddress, RedisPlace } from "./redis-url.ts";

/** How long a Sentinel or a node of a Redis Cluster may take to answer, milliseconds. */
const ANSWER_TIMEOUT_MS = 1_000;
/** How long the finder waits for further answers when most have answered, milliseconds. */
const LAST_ANSWERS_MS = 200;
/** The most Sentinels, or nodes of a Redis Cluster, that are asked. */
const MAX_ASKED = 9;

/** Another Redis is about to become the master: until it is, nobody may write. */
export class FailoverError extends Error {
  override name = "FailoverError";

  constructor() {
    super("a failover is under way");
  }
}

interface Answers {
  claims: readonly Claim[];
  asked: number;
  lastError: unknown;
}

/**
 * Finds the Redis that holds the keys of this server. Sentinels and a Redis Cluster may name another master at any time,
 * and some learn of a failover later than others: the finder asks all, and the newest answer counts.
 */
export class MasterFinder {
  readonly #guide: Guide | undefined;
  /** As in `REDIS_URL`. */
  readonly #configured: readonly RedisAddress[];
  /** Sentinels or nodes. */
  #candidates: readonly RedisAddress[];
  /** Connections to the candidates, by address. */
  readonly #scouts = new Map<string, Redis>();
  #asking: Promise<Answers> | undefined;
  /** Begins when {@link #asking} has ended. */
  #nextAsking: Promise<Answers> | undefined;
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

  /** @throws {FailoverError} @throws nobody who was asked knows the master */
  async find(): Promise<RedisAddress> {
    const [only] = this.#candidates;
    if (this.#guide !== undefined) return masterOf(await (this.#asking ?? this.#ask(this.#guide)));
    if (only === undefined) throw new Error("REDIS_URL has no host");
    return only;
  }

  /**
   * As {@link find}, with answers to questions that are asked from now on, by most of those who can be asked.
   * @throws {FailoverError} @throws most do not answer
   */
  async confirm(): Promise<RedisAddress> {
    const guide = this.#guide;
    if (guide === undefined) return await this.find();
    this.#nextAsking ??= (async () => {
      await this.#asking?.catch(() => {});
      this.#nextAsking = undefined;
      return await this.#ask(guide);
    })();
    const answers = await this.#nextAsking;
    const master = masterOf(answers);
    if (!isMost(answers.claims.length, answers.asked)) throw new Error("most Sentinels or nodes do not answer");
    return master;
  }

  close(): void {
    this.#isClosed = true;
    for (const client of this.#scouts.values()) destroyClient(client);
  }

  #ask(guide: Guide): Promise<Answers> {
    const asking = this.#askAll(guide).finally(() => {
      if (this.#asking === asking) this.#asking = undefined;
    });
    this.#asking = asking;
    return asking;
  }

  /** Never rejects. */
  async #askAll(guide: Guide): Promise<Answers> {
    const asked = this.#candidates.slice(0, MAX_ASKED);
    const claims: Claim[] = [];
    let lastError: unknown = new Error("connect ECONNREFUSED");
    let onMost = () => {};
    const most = new Promise<void>((resolve) => {
      onMost = resolve;
    });
    const questions = asked.map(async (address) => {
      try {
        claims.push(await this.#claimOf(guide, address));
        if (isMost(claims.length, asked.length)) onMost();
      } catch (error) {
        lastError = error;
      }
    });
    const end = new AbortController();
    const late = most.then(() => after(LAST_ANSWERS_MS, undefined, { signal: end.signal })).catch(() => {});
    await Promise.race([Promise.all(questions), late]);
    end.abort();
    return { claims, asked: asked.length, lastError };
  }

  async #claimOf(guide: Guide, address: RedisAddress): Promise<Claim> {
    const name = `${address.host}:${address.port}`;
    try {
      const client = this.#scouts.get(name) ?? (await this.#connect(guide, address, name));
      return await inTime(guide.claim(client, address), ANSWER_TIMEOUT_MS, lateError);
    } catch (error) {
      const client = this.#scouts.get(name);
      this.#scouts.delete(name);
      if (client !== undefined) destroyClient(client);
      throw error;
    }
  }

  async #connect(guide: Guide, address: RedisAddress, name: string): Promise<Redis> {
    const client = createClient(address, guide.login, "scout", ANSWER_TIMEOUT_MS);
    this.#scouts.set(name, client);
    let lastError: unknown;
    client.on("error", (error: unknown) => {
      lastError = error;
    });
    await inTime(client.connect(), ANSWER_TIMEOUT_MS, lateError).catch((error: unknown) => {
      throw lastError ?? error;
    });
    const others = await inTime(guide.others(client), ANSWER_TIMEOUT_MS, lateError);
    const all = [...this.#configured, ...this.#candidates, ...others];
    this.#candidates = all.filter((one, index) => all.findIndex((other) => isSame(one, other)) === index);
    if (this.#isClosed) destroyClient(client);
    return client;
  }
}

export function isSame(one: RedisAddress, other: RedisAddress): boolean {
  return one.host === other.host && one.port === other.port;
}

/** @throws {FailoverError} @throws nobody has answered */
function masterOf({ claims, lastError }: Answers): RedisAddress {
  let newest: Claim | undefined;
  for (const claim of claims) if (newest === undefined || claim.epoch > newest.epoch) newest = claim;
  if (newest === undefined) throw lastError;
  if (claims.some(({ epoch, isFailingOver }) => isFailingOver && epoch >= (newest?.epoch ?? 0)))
    throw new FailoverError();
  return newest.master;
}

function isMost(count: number, all: number): boolean {
  return 2 * count > all;
}

function lateError(): Error {
  return new Error("connection timed out");
}
