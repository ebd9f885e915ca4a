import { Cluster, type ClusterOptions, Redis, type RedisOptions } from "ioredis";
import type { Logger } from "pino";
import { describePlace, parseRedisUrl, type RedisPlace } from "./redis-url.ts";

export { RedisUrlError } from "./redis-url.ts";

/** The way to Redis, for all parts of this program. */
export interface RedisAccess {
  /**
   * Makes a connection, which comes up by itself and comes back by itself for as long as it takes. Never throws, never
   * emits an `error` nobody hears. What it does while Redis is away is its user's choice:
   *
   * - By default a command waits for Redis, {@link COMMAND_TIMEOUT_MS} at most, and then rejects. It may have been, or
   *   may yet be, carried out.
   * - Who answers somebody gives `enableOfflineQueue: false, maxRetriesPerRequest: 0, autoResendUnfulfilledCommands:
   *   false`: a command then rejects as soon as the connection is gone. It must wait for `ready` itself.
   * - Who blocks (`XREAD BLOCK`, `SUBSCRIBE`) gives a `commandTimeout` of its own, or `undefined` for none.
   *
   * @param name what the connection is for, as `CLIENT LIST` shows it: `skylapse-{name}`
   * @param options over the defaults, for a cluster's nodes too. Host, port and such are the URL's.
   */
  connect(name: string, options?: Partial<RedisOptions>): Redis | Cluster;
  /** What every key begins with. It holds a hash tag, so that a cluster keeps all keys in one place, as scripts need. */
  readonly prefix: string;
  /** Ends all connections. Idempotent; takes {@link QUIT_TIMEOUT_MS} at most. */
  close(): Promise<void>;
}

export interface OpenRedisOptions {
  /** `REDIS_URL`: a single Redis, Sentinels or a cluster; see {@link parseRedisUrl}. */
  url: string;
  /** Sets this deployment apart from others in one Redis: letters, digits and `:._-`, such as `skylapse`. */
  prefix: string;
  logger: Logger;
}

/** A command that is not answered for so long rejects: a Redis that hangs closes no connection. */
export const COMMAND_TIMEOUT_MS = 5_000;
/** How long a connection may take to be made. */
export const CONNECT_TIMEOUT_MS = 5_000;
/** The longest pause before another attempt to connect. */
export const MAX_RECONNECT_DELAY_MS = 2_000;
/** How long saying goodbye may take. */
export const QUIT_TIMEOUT_MS = 1_000;
/** Failed attempts to connect after which commands that wait for the connection are given up. */
const MAX_RETRIES_PER_COMMAND = 3;

/**
 * @throws {RedisUrlError}
 * @throws {RangeError} not a prefix
 */
export function openRedis({ url, prefix, logger }: OpenRedisOptions): RedisAccess {
  if (!/^[A-Za-z0-9:._-]{1,64}$/.test(prefix))
    throw new RangeError(`"${prefix}" cannot begin the names of keys: 1 to 64 letters, digits and : . _ -`);
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

  connect(name: string, options: Partial<RedisOptions> = {}): Redis | Cluster {
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

  /** Without a listener for `error` ioredis writes to the console, and a cluster's ends the process. */
  #watch(connection: Redis | Cluster, logger: Logger): void {
    let lost = false;
    connection.on("error", (err: unknown) => {
      // Every attempt fails the same way: the first one says it.
      if (!lost && this.#closing === undefined)
        logger.warn({ err: withoutSecrets(err), redis: describePlace(this.place) }, "redis cannot be reached");
      lost = true;
    });
    connection.on("close", () => {
      if (!lost && this.#closing === undefined && this.#open.has(connection)) logger.debug("redis connection closed");
    });
    connection.on("ready", () => {
      if (lost) logger.info("redis is back");
      lost = false;
    });
    connection.on("end", () => this.#open.delete(connection));
  }
}

function create(place: RedisPlace, name: string, given: Partial<RedisOptions>): Redis | Cluster {
  const { username, password } = place;
  const options: RedisOptions = {
    connectionName: `skylapse-${name}`,
    connectTimeout: CONNECT_TIMEOUT_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
    maxRetriesPerRequest: MAX_RETRIES_PER_COMMAND,
    retryStrategy: reconnectDelay,
    // A master that became a replica refuses writes for good: its successor is found by connecting again.
    reconnectOnError: (error) => error.message.startsWith("READONLY"),
    keepAlive: 10_000,
    // Half a minute of loading is no reason to ask every second for so long.
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

/** What ioredis wants of a cluster as a whole, and what of each of its nodes. */
function clusterOptions(options: RedisOptions): ClusterOptions {
  const { keyPrefix, enableAutoPipelining, autoPipeliningIgnoredCommands } = options;
  const { retryStrategy, enableOfflineQueue, port, host, path, sentinels, readOnly, ...ofNodes } = options;
  const redisOptions: ClusterOptions["redisOptions"] = ofNodes;
  return {
    redisOptions,
    clusterRetryStrategy: retryStrategy ?? reconnectDelay,
    slotsRefreshTimeout: COMMAND_TIMEOUT_MS,
    // A failover takes seconds: looked for more often than by default, it is found sooner.
    slotsRefreshInterval: 2_000,
    retryDelayOnFailover: 200,
    retryDelayOnClusterDown: 200,
    ...(enableOfflineQueue === undefined ? {} : { enableOfflineQueue }),
    ...(keyPrefix === undefined ? {} : { keyPrefix }),
    ...(enableAutoPipelining === undefined ? {} : { enableAutoPipelining }),
    ...(autoPipeliningIgnoredCommands === undefined ? {} : { autoPipeliningIgnoredCommands }),
  };
}

/** 50 ms, then twice as long each time, with jitter so that many nodes do not come at one moment. */
function reconnectDelay(attempt: number): number {
  const delay = Math.min(MAX_RECONNECT_DELAY_MS, 50 * 2 ** Math.min(attempt - 1, 10));
  return Math.round(delay * (0.75 + Math.random() / 4));
}

async function quit(connection: Redis | Cluster): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, QUIT_TIMEOUT_MS);
  });
  try {
    if (connection.status === "ready") await Promise.race([connection.quit(), patience]);
  } catch {
    // It is gone already.
  } finally {
    clearTimeout(timer);
    connection.disconnect();
  }
}

/** An error of ioredis carries the command that failed, and that may be the one with the password. */
function withoutSecrets(error: unknown): { type: string; message: string } {
  return error instanceof Error
    ? { type: error.name, message: error.message || String("code" in error ? error.code : error.name) }
    : { type: "unknown", message: String(error) };
}
