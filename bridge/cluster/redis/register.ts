import type { Logger } from "pino";
import { z } from "zod";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import type { Membership } from "../../../platform/redis/membership.ts";
import type { Script } from "../../../platform/redis/script.ts";
import type { ConnectionRegister } from "../cluster.ts";
import type { Link } from "./link.ts";
import { ADD_CONNECTIONS, COUNT_CONNECTIONS, ENTER, REMOVE_CONNECTIONS, TIDY_CONNECTIONS } from "./scripts.ts";

/** The most connections that one script call registers or removes. */
const BATCH = 500;

const countsSchema = z.array(z.tuple([z.string(), z.number()]));
const tidySchema = z.tuple([z.number(), z.number()]);

interface RegisterOptions {
  link: Link;
  membership: Membership;
  logger: Logger;
}

/**
 * The register in Redis, with this node's connections also in memory. When Redis may differ (a command's outcome is
 * unknown, or this node was regarded as dead), Redis is updated from memory.
 */
export class RedisRegister implements ConnectionRegister {
  readonly #options: RegisterOptions;
  readonly #own: string;
  /** The user of each connection to this node. */
  readonly #users = new Map<string, string>();
  /** The number of connections of each user to this node. */
  readonly #counts = new Map<string, number>();
  /** Closed connections that must still be removed from Redis. */
  #closed: [connectionId: string, userId: string][] = [];
  #removing = false;
  /** Registrations without a reply. */
  #entering = 0;
  #inDoubt = false;
  /** Consecutive comparisons in which Redis differed from memory. */
  #differed = 0;
  #aligning: Promise<void> | undefined;

  constructor(options: RegisterOptions) {
    this.#options = options;
    this.#own = options.link.key(`connections:${options.membership.nodeId}`);
    options.membership.onRejoin(() => void this.#align());
  }

  async enter(userId: string, connectionId: string, limit: number): Promise<(() => void) | undefined> {
    const { link, membership } = this.#options;
    if (limit > 0 && !this.#users.has(connectionId) && (this.#counts.get(userId) ?? 0) >= limit) return undefined;
    this.#add(connectionId, userId);
    this.#entering++;
    try {
      const keys = [membership.key, link.key(`user:${userId}`), this.#own];
      const entered = await link.run(ENTER, keys, [connectionId, membership.nodeId, userId, limit]);
      if (entered === 0) {
        this.#remove(connectionId);
        return undefined;
      }
    } catch (error) {
      if (!(error instanceof StoreUnavailableError)) throw error;
      this.#inDoubt = true;
    } finally {
      this.#entering--;
    }
    return () => {
      if (!this.#remove(connectionId)) return;
      this.#closed.push([connectionId, userId]);
      if (!this.#removing) void this.#removeClosed();
    };
  }

  async total(): Promise<number> {
    return [...(await this.counts()).values()].reduce((sum, count) => sum + count, 0);
  }

  /** The number of connections of each living node. @throws {StoreUnavailableError} */
  async counts(): Promise<ReadonlyMap<string, number>> {
    const { link, membership } = this.#options;
    return new Map(countsSchema.parse(await link.run(COUNT_CONNECTIONS, [membership.key], [link.key("")])));
  }

  /**
   * Deletes connections of dead nodes, and updates Redis if it differs from memory.
   * @returns the number of notices that all nodes have sent @throws {StoreUnavailableError}
   */
  async tidy(noticeCount: string): Promise<number> {
    const { link, membership } = this.#options;
    const keys = [membership.key, link.key("nodes"), noticeCount];
    const [registered, notices] = tidySchema.parse(
      await link.run(TIDY_CONNECTIONS, keys, [link.key(""), membership.nodeId, BATCH]),
    );
    const quiet = this.#entering === 0 && !this.#removing;
    // The first difference is ignored: Redis may have counted just before it received this node's last command.
    this.#differed = quiet && registered !== this.#users.size ? this.#differed + 1 : 0;
    if (this.#inDoubt || this.#differed >= 2) void this.#align();
    return notices;
  }

  #align(): Promise<void> {
    this.#aligning ??= this.#alignAll()
      .catch((error: unknown) => {
        // The next heartbeat retries.
        this.#inDoubt = true;
        this.#options.logger.debug({ err: error }, "connections not registered, retrying");
      })
      .finally(() => {
        this.#aligning = undefined;
      });
    return this.#aligning;
  }

  async #alignAll(): Promise<void> {
    const { link, logger } = this.#options;
    this.#inDoubt = false;
    this.#differed = 0;
    const registered = await link.readHash(this.#own, BATCH);
    const surplus = [...registered].filter(([connectionId]) => !this.#users.has(connectionId));
    // Also registers connections that the node's hash still has: the users' hashes may have lost them.
    const missing = [...this.#users];
    await this.#send(ADD_CONNECTIONS, [this.#options.membership.nodeId], missing);
    const left = missing.filter(([connectionId]) => !this.#users.has(connectionId));
    await this.#send(REMOVE_CONNECTIONS, [], [...surplus, ...left]);
    logger.info({ connections: missing.length, removed: surplus.length }, "connections registered again");
  }

  async #removeClosed(): Promise<void> {
    this.#removing = true;
    // Connections that close in the same turn of the event loop are removed together.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#closed.length > 0) {
      const closed = this.#closed;
      this.#closed = [];
      try {
        await this.#send(REMOVE_CONNECTIONS, [], closed);
      } catch {
        this.#inDoubt = true;
      }
    }
    this.#removing = false;
  }

  async #send(script: Script, args: readonly string[], connections: readonly (readonly string[])[]): Promise<void> {
    const { link } = this.#options;
    for (let index = 0; index < connections.length; index += BATCH)
      await link.run(script, [this.#own], [link.key(""), ...args, ...connections.slice(index, index + BATCH).flat()]);
  }

  #add(connectionId: string, userId: string): void {
    if (this.#users.has(connectionId)) return;
    this.#users.set(connectionId, userId);
    this.#counts.set(userId, (this.#counts.get(userId) ?? 0) + 1);
  }

  #remove(connectionId: string): boolean {
    const userId = this.#users.get(connectionId);
    if (userId === undefined) return false;
    this.#users.delete(connectionId);
    const count = (this.#counts.get(userId) ?? 0) - 1;
    if (count > 0) this.#counts.set(userId, count);
    else this.#counts.delete(userId);
    return true;
  }
}
