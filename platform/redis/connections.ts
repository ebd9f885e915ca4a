import { setTimeout as after } from "node:timers/promises";
import type { Logger } from "pino";
import { StoreUnavailableError } from "../errors.ts";
import { inTime } from "../in-time.ts";
import { CONNECT_TIMEOUT_MS, createClient, destroyClient } from "./client.ts";
import { Connection, type ConnectionOwner } from "./connection.ts";
import { redisFailureReason } from "./failure-reason.ts";
import { FailoverError, isSame, MasterFinder } from "./master-finder.ts";
import { type OpenedConnection, type Opening, PING_MS } from "./open-connection.ts";
import { describePlace, parseRedisUrl, type RedisAddress, type RedisPlace } from "./redis-url.ts";
import { type RedisServerInfo, readServerInfo } from "./server-info.ts";
import { Subscriber } from "./subscriber.ts";

/** Needed because a Redis that hangs does not close its connections. */
export const COMMAND_TIMEOUT_MS = 5_000;
/** The longest time for which Redis may block a command of {@link RedisConnections.reading}, milliseconds. */
export const MAX_BLOCK_MS = 1_000;
/** The interval at which the Sentinels or the Redis Cluster are asked for the master, milliseconds. */
const MASTER_CHECK_MS = 1_000;
const TICK_MS = 250;
const QUIT_TIMEOUT_MS = 1_000;
const LOADING_CHECK_MS = 200;
const LOADING_LOG_MS = 10_000;
const OTHER_MASTER = "Redis has another master: connecting to it; the server retries by itself";

interface OpenRedisOptions {
  /** In a format of {@link parseRedisUrl}. */
  url: string;
  /** Separates deployments in the same Redis: letters, digits and `:._-`, such as `skylapse`. */
  prefix: string;
  /** Default {@link COMMAND_TIMEOUT_MS}. */
  commandTimeoutMs?: number | undefined;
  /** How many replicas must have a write before it is acknowledged: see {@link Connection.replicated}. Default 0. */
  waitReplicas?: number | undefined;
  logger: Logger;
}

/** @throws {RedisUrlError} @throws {RangeError} the prefix is invalid */
export function openRedis({ url, prefix, commandTimeoutMs, waitReplicas = 0, logger }: OpenRedisOptions) {
  if (!/^[A-Za-z0-9:._-]{1,64}$/.test(prefix))
    throw new RangeError(`the prefix "${prefix}" is not valid: use 1 to 64 letters, digits and : . _ -`);
  const place = parseRedisUrl(url);
  return new RedisConnections(place, `{${prefix.replace(/:+$/, "")}}:`, { commandTimeoutMs, waitReplicas, logger });
}

/**
 * All connections of a node to Redis. Each is opened when it is first used, and shown by `CLIENT LIST` as
 * `skylapse-{name}`. When one of them finds another master, all are opened again: a connection that nobody uses would
 * otherwise stay at a master that the others have left.
 */
export class RedisConnections {
  readonly place: RedisPlace;
  /** The prefix of every key. Its hash tag puts all keys into one slot of a cluster, because scripts need one slot. */
  readonly prefix: string;
  readonly waitReplicas: number;
  readonly #timeoutMs: number;
  readonly #logger: Logger;
  readonly #finder: MasterFinder;
  readonly #connections = new Map<string, Connection>();
  readonly #owner: ConnectionOwner;
  #subscriber: Subscriber | undefined;
  /** The newest master that a connection has seen. */
  #master: OpenedConnection | undefined;
  /** Redis answers but refuses writes, for example because its memory is full. */
  #refusal: string | undefined;
  #loggedReason: string | undefined;
  #probing = false;
  #timer: NodeJS.Timeout | undefined;
  #masterTimer: NodeJS.Timeout | undefined;
  #loadingLoggedAt = Number.NEGATIVE_INFINITY;
  #closing: Promise<void> | undefined;

  constructor(place: RedisPlace, prefix: string, options: Omit<OpenRedisOptions, "url" | "prefix">) {
    const { commandTimeoutMs = COMMAND_TIMEOUT_MS, waitReplicas = 0, logger } = options;
    this.place = place;
    this.prefix = prefix;
    this.waitReplicas = waitReplicas;
    this.#timeoutMs = commandTimeoutMs;
    this.#logger = logger;
    this.#finder = new MasterFinder(place, prefix);
    this.#owner = {
      open: (name, opening) => this.#open(name, opening),
      confirm: (address) => this.#confirm(address),
      onOtherMaster: (address, reason) => this.#leave(address, reason),
      onFailed: (connection, reason) => this.#failed(connection, reason),
      onChanged: (connection) => this.#changed(connection),
    };
  }

  /** For short commands. Nothing large or blocking may hold them up. */
  get commands(): Connection {
    return this.#connection("commands");
  }

  /** For commands with large replies or arguments, such as pages of the journal and previews. */
  get bulk(): Connection {
    return this.#connection("bulk");
  }

  /** For the reader of the log, which waits in Redis for at most {@link MAX_BLOCK_MS}. */
  get reading(): Connection {
    return this.#connection("reading", MAX_BLOCK_MS);
  }

  get subscriber(): Subscriber {
    this.#subscriber ??= new Subscriber(this.#connection("subscriber"), this.#logger);
    return this.#subscriber;
  }

  /**
   * Why Redis cannot be used; undefined when it can be read and accepts writes. For an operator. After a failure, a
   * write of its own shows when Redis is available again.
   */
  get unavailableReason(): string | undefined {
    const bulk = this.#connections.get("bulk");
    return this.commands.unavailableReason ?? this.#refusal ?? (bulk?.wasOpen ? bulk.unavailableReason : undefined);
  }

  /** What the master says about itself. @throws {StoreUnavailableError} */
  async info(): Promise<RedisServerInfo> {
    return readServerInfo(await this.commands.do((redis) => redis.info()));
  }

  /** Closes all connections within {@link QUIT_TIMEOUT_MS}. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #connection(name: string, blockMs = 0): Connection {
    const known = this.#connections.get(name);
    if (known !== undefined) return known;
    const replication = { replicas: this.waitReplicas, key: `${this.prefix}replicated` };
    const options = { name, owner: this.#owner, replication, timeoutMs: this.#timeoutMs, blockMs };
    const connection = new Connection(options);
    this.#connections.set(name, connection);
    if (this.#closing !== undefined) void connection.close();
    else this.#watch();
    return connection;
  }

  #watch(): void {
    // Replies that have arrived while this process stood still are read first.
    this.#timer ??= setInterval(() => setImmediate(() => this.#tick()), TICK_MS).unref();
    if (this.#finder.canChange)
      this.#masterTimer ??= setInterval(() => void this.#checkMaster(), MASTER_CHECK_MS).unref();
  }

  async #close(): Promise<void> {
    clearInterval(this.#timer);
    clearInterval(this.#masterTimer);
    await Promise.all([...this.#connections.values()].map((connection) => connection.close(QUIT_TIMEOUT_MS)));
    this.#finder.close();
  }

  /** Opens a connection to a master that has loaded its data. */
  async #open(name: string, opening: Opening): Promise<OpenedConnection> {
    const address = await this.#finder.find();
    opening.address = address;
    const client = createClient(address, this.place, name);
    const { signal } = opening.abort;
    let lastError: unknown;
    client.on("error", (error: unknown) => {
      lastError = error;
    });
    signal.addEventListener("abort", () => destroyClient(client));
    const answer = <Result>(reply: Promise<Result>) => inTime(reply, CONNECT_TIMEOUT_MS, () => new Error("timed out"));
    try {
      if (signal.aborted) throw new Error("Connection is closed.");
      await answer(client.connect());
      let info = readServerInfo(await answer(client.info()));
      for (; info.loading !== undefined; info = readServerInfo(await answer(client.info()))) {
        opening.onLoading(this.#reportLoading(info.loading));
        await after(LOADING_CHECK_MS, undefined, { signal });
      }
      if (!info.isMaster) throw new Error("READONLY this Redis is a replica");
      const opened = { client, address, runId: info.runId };
      this.#found(opened);
      return opened;
    } catch (error) {
      destroyClient(client);
      throw lastError ?? error;
    }
  }

  #reportLoading({ percent, secondsLeft }: NonNullable<RedisServerInfo["loading"]>): string {
    const reason = redisFailureReason(new Error("LOADING"));
    if (performance.now() - this.#loadingLoggedAt > LOADING_LOG_MS) {
      this.#loadingLoggedAt = performance.now();
      this.#logger.warn({ percent, secondsLeft }, "redis is loading its data from the disk: waiting until it is ready");
    }
    return reason;
  }

  #found(opened: OpenedConnection): void {
    const before = this.#master;
    this.#master = opened;
    for (const connection of this.#connections.values()) connection.retry();
    if (before === undefined || before.runId === opened.runId) return;
    const address = describe(opened.address);
    this.#logger.warn({ address, before: describe(before.address) }, "redis was restarted or has another master");
    for (const connection of this.#connections.values())
      if (connection.opened !== undefined && connection.opened.runId !== opened.runId)
        connection.interrupt(OTHER_MASTER);
  }

  async #confirm(address: RedisAddress): Promise<void> {
    if (!this.#finder.canChange) return;
    let master: RedisAddress;
    try {
      master = await this.#finder.confirm();
    } catch (cause) {
      if (cause instanceof FailoverError) this.#leave(address, redisFailureReason(cause));
      throw new StoreUnavailableError("Redis was slow, and nobody confirms that it is still the master", { cause });
    }
    if (isSame(master, address)) return;
    this.#goTo(master);
    throw new StoreUnavailableError(OTHER_MASTER);
  }

  async #checkMaster(): Promise<void> {
    try {
      const master = await this.#finder.find();
      if (this.#closing === undefined) this.#goTo(master);
    } catch (err) {
      this.#logger.debug({ err }, "nobody says which redis is the master");
      if (err instanceof FailoverError && this.#master !== undefined)
        this.#leave(this.#master.address, redisFailureReason(err));
    }
  }

  /** Replaces all connections that do not lead to the master. */
  #goTo(master: RedisAddress): void {
    for (const connection of this.#connections.values())
      if (connection.address !== undefined && !isSame(connection.address, master)) connection.interrupt(OTHER_MASTER);
  }

  /** Replaces all connections to a Redis that is no longer the master. */
  #leave(address: RedisAddress, reason: string): void {
    for (const connection of this.#connections.values())
      if (connection.address !== undefined && isSame(connection.address, address)) connection.interrupt(reason);
  }

  #tick(): void {
    for (const connection of this.#connections.values()) connection.tick();
    if (this.#refusal !== undefined && !this.#probing) void this.#probe();
  }

  /** Writes, to find out whether Redis accepts writes again. */
  async #probe(): Promise<void> {
    this.#probing = true;
    try {
      await this.commands.do((redis) => redis.set(`${this.prefix}probe`, "", "PX", PING_MS));
      await this.commands.replicated();
      this.#refusal = undefined;
    } catch {
      // The reason is noted.
    }
    this.#probing = false;
    this.#report();
  }

  #failed(connection: Connection, reason: string): void {
    if (connection !== this.#connections.get("commands")) return;
    this.#refusal = reason;
    this.#report();
  }

  #changed(connection: Connection): void {
    const isCommands = connection === this.#connections.get("commands");
    if (isCommands && connection.isReady && this.#loggedReason !== undefined) {
      // Until Redis has accepted a write, it may still refuse all.
      this.#refusal ??= this.#loggedReason;
      if (!this.#probing) void this.#probe();
    }
    this.#report();
  }

  #report(): void {
    const reason = this.unavailableReason;
    if (this.#closing !== undefined || (reason === undefined) === (this.#loggedReason === undefined)) {
      this.#loggedReason = reason;
      return;
    }
    this.#loggedReason = reason;
    const redis = describePlace(this.place);
    if (reason === undefined) this.#logger.info({ redis }, "redis available again");
    else this.#logger.warn({ redis, unavailableReason: reason }, "redis unavailable");
  }
}

function describe({ host, port }: RedisAddress): string {
  return `${host}:${port}`;
}
