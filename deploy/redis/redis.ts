import { setTimeout as after } from "node:timers/promises";
import { Cluster, Redis } from "ioredis";
import type { Logger } from "pino";
import type { RedisConnectionOptions } from "../../platform/redis/connections.ts";
import { describePlace, parseRedisUrl, type RedisPlace } from "./redis-url.ts";

/** Creates the connections to Redis for all parts of this program. */
export interface RedisAccess {
  /**
   * Creates a connection that reconnects without a limit. Never throws. The options decide what happens while Redis is
   * unavailable:
   *
   * - By default, a command rejects after {@link COMMAND_TIMEOUT_MS}. Redis may have run it, or may still run it.
   * - To answer a client without delay, pass `enableOfflineQueue: false, maxRetriesPerRequest: 0,
   *   autoResendUnfulfilledCommands: false`. A command then rejects as soon as the connection is lost. The caller must
   *   wait for `ready`.
   * - For blocking commands (`XREAD BLOCK`, `SUBSCRIBE`), pass another `commandTimeout`, or `undefined` for none.
   *
   * @param name the purpose of the connection. `CLIENT LIST` shows `skylapse-{name}`.
   * @param options override the defaults, also for the nodes of a cluster. The URL sets host and port.
   */
  connect(name: string, options?: Partial<RedisConnectionOptions>): Redis | Cluster;
  /** The prefix of every key. Its hash tag puts all keys into one slot of a cluster, because scripts need one slot. */
  readonly prefix: string;
  /** Closes all connections within {@link QUIT_TIMEOUT_MS}. Idempotent. */
  close(): Promise<void>;
}

interface OpenRedisOptions {
  /** In a format of {@link parseRedisUrl}. */
  url: string;
  /** Separates deployments in the same Redis: letters, digits and `:._-`, such as `skylapse`. */
  prefix: string;
  logger: Logger;
}

/** Needed because a Redis that hangs does not close its connections. */
export const COMMAND_TIMEOUT_MS = 5_000;
const CONNECT_TIMEOUT_MS = 5_000;
const MAX_RECONNECT_DELAY_MS = 2_000;
const QUIT_TIMEOUT_MS = 1_000;
/** A waiting command rejects after this many failed attempts to connect. */
const MAX_RETRIES_PER_COMMAND = 3;

/** @throws {RedisUrlError} @throws {RangeError} the prefix is invalid */
export function openRedis({ url, prefix, logger }: OpenRedisOptions): RedisAccess {
  if (!/^[A-Za-z0-9:._-]{1,64}$/.test(prefix))
    throw new RangeError(`the prefix "${prefix}" is not valid: use 1 to 64 letters, digits and : . _ -`);
  return new Connections(parseRedisUrl(url), `{${prefix.replace(/:+$/, "")}}:`, logger);
}

class Connections implements RedisAccess {
  readonly prefix: string;
  readonly place: RedisPlace;
  readonly #logger: Logger;
  readonly #open = new Set<Redis | Cluster>();
  #closing: Promise<void> | undefined;

  constructor(place: RedisPlace, prefix: string, logger: Logger) {
    this.place = place;
    this.prefix = prefix;
    this.#logger = logger;
  }

  connect(name: string, options: Partial<RedisConnectionOptions> = {}): Redis | Cluster {
    const connection = create(this.place, name, options);
    this.#open.add(connection);
    this.#watch(connection, this.#logger.child({ connection: name }));
    if (this.#closing !== undefined) connection.disconnect();
    return connection;
  }

  close(): Promise<void> {
    this.#closing ??= Promise.all([...this.#open].map(quit)).then(() => undefined);
    return this.#closing;
  }

  /** Without an `error` listener, ioredis writes to the console, and an error of a cluster ends the process. */
  #watch(connection: Redis | Cluster, logger: Logger): void {
    let lost = false;
    connection.on("error", (err: unknown) => {
      // The next attempts usually fail for the same reason, so only the first failure is logged.
      if (!lost && this.#closing === undefined)
        logger.warn({ err: withoutSecrets(err), redis: describePlace(this.place) }, "redis cannot be reached");
      lost = true;
    });
    connection.on("close", () => {
      if (!lost && this.#closing === undefined && this.#open.has(connection)) logger.debug("redis connection closed");
    });
    connection.on("ready", () => {
      if (lost) logger.info("redis can be reached again");
      lost = false;
    });
    connection.on("end", () => this.#open.delete(connection));
  }
}

function create(place: RedisPlace, name: string, given: Partial<RedisConnectionOptions>): Redis | Cluster {
  const { username, password } = place;
  const options: RedisConnectionOptions = {
    connectionName: `skylapse-${name}`,
    connectTimeout: CONNECT_TIMEOUT_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
    maxRetriesPerRequest: MAX_RETRIES_PER_COMMAND,
    retryStrategy: reconnectDelay,
    // A master that has become a replica refuses writes. A new connection finds the new master.
    reconnectOnError: (error) => error.message.startsWith("READONLY"),
    keepAlive: 10_000,
    // The longest time between two checks whether a starting Redis has loaded its data, milliseconds.
    maxLoadingRetryTime: 1_000,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(place.tls ? { tls: {} } : {}),
    ...given,
  };
  switch (place.kind) {
    case "single":
      return new Redis({ ...options, host: place.host, port: place.port, db: place.db });
    case "sentinel":
      return new Redis({
        ...options,
        db: place.db,
        name: place.masterName,
        sentinels: place.sentinels.map((address) => ({ ...address })),
        sentinelRetryStrategy: reconnectDelay,
        sentinelCommandTimeout: COMMAND_TIMEOUT_MS,
        enableTLSForSentinelMode: place.tls,
        ...(place.sentinelPassword === undefined ? {} : { sentinelPassword: place.sentinelPassword }),
      });
    case "cluster":
      return new Cluster(
        place.nodes.map((address) => ({ ...address })),
        clusterOptions(options),
      );
  }
}

/** Separates the options of the whole cluster from the options of each node. */
function clusterOptions(options: RedisConnectionOptions) {
  const { keyPrefix, enableAutoPipelining, autoPipeliningIgnoredCommands } = options;
  const { retryStrategy, enableOfflineQueue, port, host, path, sentinels, readOnly, ...ofNodes } = options;
  return {
    redisOptions: ofNodes,
    clusterRetryStrategy: retryStrategy ?? reconnectDelay,
    slotsRefreshTimeout: COMMAND_TIMEOUT_MS,
    // More frequent than the default, because a failover takes only seconds.
    slotsRefreshInterval: 2_000,
    retryDelayOnFailover: 200,
    retryDelayOnClusterDown: 200,
    ...(enableOfflineQueue === undefined ? {} : { enableOfflineQueue }),
    ...(keyPrefix === undefined ? {} : { keyPrefix }),
    ...(enableAutoPipelining === undefined ? {} : { enableAutoPipelining }),
    ...(autoPipeliningIgnoredCommands === undefined ? {} : { autoPipeliningIgnoredCommands }),
  };
}

/** Starts at 50 ms and doubles after each attempt. The jitter spreads the reconnects of many nodes. */
function reconnectDelay(attempt: number): number {
  const delay = Math.min(MAX_RECONNECT_DELAY_MS, 50 * 2 ** Math.min(attempt - 1, 10));
  return Math.round(delay * (0.75 + Math.random() / 4));
}

async function quit(connection: Redis | Cluster): Promise<void> {
  const left = new AbortController();
  const timeout = after(QUIT_TIMEOUT_MS, undefined, { signal: left.signal }).catch(() => {});
  try {
    if (connection.status === "ready") await Promise.race([connection.quit(), timeout]);
  } catch {
    // The connection is closed already.
  } finally {
    left.abort();
    connection.disconnect();
  }
}

/** Removes the failed command from an error of ioredis, because the command may contain the password. */
function withoutSecrets(error: unknown): { type: string; message: string } {
  return error instanceof Error
    ? { type: error.name, message: error.message || String("code" in error ? error.code : error.name) }
    : { type: "unknown", message: String(error) };
}
