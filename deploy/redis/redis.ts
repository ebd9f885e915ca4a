import { Cluster, type ClusterOptions, Redis, type RedisOptions } from "ioredis";
import type { Logger } from "pino";
import { describePlace, parseRedisUrl, type RedisPlace } from "./redis-url.ts";

/** Creates the connections to Redis for all parts of this program. */
export interface RedisAccess {
  /**
   * Creates a connection, which connects and reconnects by itself without a limit. Never throws, and never emits an
   * `error` without a listener. The options decide what happens while Redis is unavailable:
   *
   * - By default a command waits for Redis for at most {@link COMMAND_TIMEOUT_MS} and then rejects. Redis may have run
   *   that command already, or may still run it.
   * - To answer a client without delay, pass `enableOfflineQueue: false, maxRetriesPerRequest: 0,
   *   autoResendUnfulfilledCommands: false`. A command then rejects as soon as the connection is lost. The caller
   *   itself must wait for `ready`.
   * - For blocking commands (`XREAD BLOCK`, `SUBSCRIBE`), pass another `commandTimeout`, or `undefined` for none.
   *
   * @param name the purpose of the connection. `CLIENT LIST` shows it as `skylapse-{name}`.
   * @param options override the defaults, also for the nodes of a cluster. The URL sets host and port.
   */
  connect(name: string, options?: Partial<RedisOptions>): Redis | Cluster;
  /**
   * The prefix of every key. It contains a hash tag, so that a cluster keeps all keys in one slot, as scripts need it.
   */
  readonly prefix: string;
  /** Closes all connections within {@link QUIT_TIMEOUT_MS}. Idempotent. */
  close(): Promise<void>;
}

export interface OpenRedisOptions {
  /** `REDIS_URL`: a single Redis, Sentinels or a cluster; see {@link parseRedisUrl}. */
  url: string;
  /** Distinguishes this deployment from others in the same Redis: letters, digits and `:._-`, such as `skylapse`. */
  prefix: string;
  logger: Logger;
}

/** How long Redis may take to answer a command, milliseconds. A Redis that hangs does not close its connections. */
export const COMMAND_TIMEOUT_MS = 5_000;
/** How long connecting may take, milliseconds. */
const CONNECT_TIMEOUT_MS = 5_000;
/** The longest wait before the next attempt to connect, milliseconds. */
const MAX_RECONNECT_DELAY_MS = 2_000;
/** How long `QUIT` may take, milliseconds. */
const QUIT_TIMEOUT_MS = 1_000;
/** After this many failed attempts to connect, commands that wait for the connection reject. */
const MAX_RETRIES_PER_COMMAND = 3;

/**
 * @throws {RedisUrlError}
 * @throws {RangeError} the prefix is not valid
 */
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

  /**
   * Listens for `error`. Without a listener ioredis writes to the console, and an error of a cluster ends the process.
   */
  #watch(connection: Redis | Cluster, logger: Logger): void {
    let lost = false;
    connection.on("error", (err: unknown) => {
      // Further attempts usually fail for the same reason, so only the first failure is logged.
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

function create(place: RedisPlace, name: string, given: Partial<RedisOptions>): Redis | Cluster {
  const { username, password } = place;
  const options: RedisOptions = {
    connectionName: `skylapse-${name}`,
    connectTimeout: CONNECT_TIMEOUT_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
    maxRetriesPerRequest: MAX_RETRIES_PER_COMMAND,
    retryStrategy: reconnectDelay,
    // A master that became a replica refuses writes from then on. A new connection finds the new master.
    reconnectOnError: (error) => error.message.startsWith("READONLY"),
    keepAlive: 10_000,
    // While a starting Redis loads its data, its state is checked at least this often, milliseconds.
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

/** Splits the options into those of a cluster as a whole and those of each node. */
function clusterOptions(options: RedisOptions): ClusterOptions {
  const { keyPrefix, enableAutoPipelining, autoPipeliningIgnoredCommands } = options;
  const { retryStrategy, enableOfflineQueue, port, host, path, sentinels, readOnly, ...ofNodes } = options;
  const redisOptions: ClusterOptions["redisOptions"] = ofNodes;
  return {
    redisOptions,
    clusterRetryStrategy: retryStrategy ?? reconnectDelay,
    slotsRefreshTimeout: COMMAND_TIMEOUT_MS,
    // A failover takes seconds. Checks that are more frequent than the default detect a failover sooner.
    slotsRefreshInterval: 2_000,
    retryDelayOnFailover: 200,
    retryDelayOnClusterDown: 200,
    ...(enableOfflineQueue === undefined ? {} : { enableOfflineQueue }),
    ...(keyPrefix === undefined ? {} : { keyPrefix }),
    ...(enableAutoPipelining === undefined ? {} : { enableAutoPipelining }),
    ...(autoPipeliningIgnoredCommands === undefined ? {} : { autoPipeliningIgnoredCommands }),
  };
}

/** Starts at 50 ms and doubles after each attempt. The jitter keeps many nodes from reconnecting at the same time. */
function reconnectDelay(attempt: number): number {
  const delay = Math.min(MAX_RECONNECT_DELAY_MS, 50 * 2 ** Math.min(attempt - 1, 10));
  return Math.round(delay * (0.75 + Math.random() / 4));
}

async function quit(connection: Redis | Cluster): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, QUIT_TIMEOUT_MS);
  });
  try {
    if (connection.status === "ready") await Promise.race([connection.quit(), timeout]);
  } catch {
    // The connection is closed already.
  } finally {
    clearTimeout(timer);
    connection.disconnect();
  }
}

/** Removes the failed command from an error of ioredis, because that command may contain the password. */
function withoutSecrets(error: unknown): { type: string; message: string } {
  return error instanceof Error
    ? { type: error.name, message: error.message || String("code" in error ? error.code : error.name) }
    : { type: "unknown", message: String(error) };
}
