import { Redis } from "ioredis";
import type { RedisAddress, RedisLogin } from "./redis-url.ts";

/** How long a connection may take to open, milliseconds. */
export const CONNECT_TIMEOUT_MS = 5_000;

/**
 * Creates a client for one connection, which `connect()` opens. When the connection ends, each command without a reply
 * rejects: the client neither reconnects nor sends a command twice.
 */
export function createClient(address: RedisAddress, login: RedisLogin, name: string, timeoutMs = CONNECT_TIMEOUT_MS) {
  const { username, password, tls, db = 0 } = login;
  return new Redis({
    ...{ host: address.host, port: address.port, db, connectionName: `skylapse-${name}`, connectTimeout: timeoutMs },
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls ? { tls: {} } : {}),
    keepAlive: 10_000,
    lazyConnect: true,
    enableReadyCheck: false,
    enableOfflineQueue: false,
    autoResubscribe: false,
    autoResendUnfulfilledCommands: false,
    retryStrategy: () => null,
  });
}

/** Closes the connection without QUIT, which a hanging Redis would not answer. */
export function destroyClient(client: Redis): void {
  client.disconnect();
  client.stream?.destroy();
}
