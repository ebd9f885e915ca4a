/** A parsed `REDIS_URL`. */
export type RedisPlace = RedisSingle | RedisSentinel | RedisCluster;

/** How a client logs in at Redis, and the database that it uses. Default: 0. */
export interface RedisLogin {
  username: string | undefined;
  password: string | undefined;
  tls: boolean;
  db?: number;
}

export interface RedisAddress {
  host: string;
  port: number;
}

interface RedisSingle extends RedisLogin, RedisAddress {
  kind: "single";
  db: number;
}

/** The Sentinels find the master by its name, even after a failover. */
interface RedisSentinel extends RedisLogin {
  kind: "sentinel";
  sentinels: readonly RedisAddress[];
  sentinelPassword: string | undefined;
  masterName: string;
  db: number;
}

interface RedisCluster extends RedisLogin {
  kind: "cluster";
  nodes: readonly RedisAddress[];
}

/** `REDIS_URL` is invalid. The message never contains a password. */
export class RedisUrlError extends Error {
  override name = "RedisUrlError";
}

const FORMS =
  "redis://host:6379/0, rediss://host:6380/0 (TLS), redis+sentinel://host1:26379,host2:26379/mymaster?db=0 or " +
  "redis+cluster://host1:6379,host2:6379";

const REDIS_PORT = 6379;
const SENTINEL_PORT = 26_379;

/**
 * Parses a `REDIS_URL` in one of the forms above, each with an optional `user:password@` before the hosts.
 * `rediss+sentinel` and `rediss+cluster` use TLS. `?sentinel_password=` is the password of the Sentinels.
 * @throws {RedisUrlError}
 */
export function parseRedisUrl(url: string): RedisPlace {
  const parts = /^(rediss?)(?:\+(sentinel|cluster))?:\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/i.exec(url.trim());
  if (parts === null) throw new RedisUrlError(`REDIS_URL must be one of ${FORMS}`);
  const [, scheme = "", kind, authority = "", path = "", query = ""] = parts;
  const at = authority.lastIndexOf("@");
  const login = { ...readLogin(authority.slice(0, Math.max(0, at))), tls: scheme.toLowerCase() === "rediss" };
  const addresses = authority
    .slice(at + 1)
    .split(",")
    .map((text) => readAddress(text.trim(), kind?.toLowerCase() === "sentinel" ? SENTINEL_PORT : REDIS_PORT));
  const settings = new URLSearchParams(query);
  switch (kind?.toLowerCase()) {
    case "sentinel": {
      allow(settings, ["db", "sentinel_password"]);
      const masterName = decode(path);
      const problem = "REDIS_URL has no master: end it with /mymaster, the name of the master at the Sentinels";
      if (masterName === "") throw new RedisUrlError(problem);
      const sentinelPassword = settings.get("sentinel_password") ?? undefined;
      const db = readDatabase(settings.get("db") ?? "");
      return { kind: "sentinel", ...login, sentinels: addresses, sentinelPassword, masterName, db };
    }
    case "cluster":
      allow(settings, []);
      if (path !== "" && path !== "0")
        throw new RedisUrlError("REDIS_URL has a database, but a Redis Cluster has only 0: remove the path");
      return { kind: "cluster", ...login, nodes: addresses };
    default: {
      allow(settings, ["db"]);
      const [address, ...more] = addresses;
      if (address === undefined || more.length > 0)
        throw new RedisUrlError("REDIS_URL has several hosts: start it with redis+sentinel:// or redis+cluster://");
      return { kind: "single", ...login, ...address, db: readDatabase(path || (settings.get("db") ?? "")) };
    }
  }
}

/** Lists the hosts for people to read. */
export function describePlace(place: RedisPlace): string {
  const list = (addresses: readonly RedisAddress[]) => addresses.map(({ host, port }) => `${host}:${port}`).join(", ");
  switch (place.kind) {
    case "single":
      return list([place]);
    case "sentinel":
      return `the master ${place.masterName} of the Sentinels ${list(place.sentinels)}`;
    case "cluster":
      return `the cluster of ${list(place.nodes)}`;
  }
}

function readLogin(text: string): Omit<RedisLogin, "tls" | "db"> {
  const colon = text.indexOf(":");
  const username = decode(colon < 0 ? text : text.slice(0, colon));
  const password = colon < 0 ? "" : decode(text.slice(colon + 1));
  return { username: username || undefined, password: password || undefined };
}

function readAddress(text: string, defaultPort: number): RedisAddress {
  const [, bracketed, plain, digits] = /^(?:\[([0-9a-f:.]+)\]|([^:[\]\s@]+))(?::(\d{1,5}))?$/i.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = digits === undefined ? defaultPort : Number(digits);
  if (host === undefined) throw new RedisUrlError(`REDIS_URL: "${text}" is not a host and a port, as in ${FORMS}`);
  if (port < 1 || port > 65_535) throw new RedisUrlError(`REDIS_URL: ${port} is not a port`);
  return { host, port };
}

function readDatabase(text: string): number {
  if (!/^\d{0,4}$/.test(text)) throw new RedisUrlError(`REDIS_URL: "${text}" is not the number of a database`);
  return Number(text);
}

function allow(settings: URLSearchParams, known: readonly string[]): void {
  for (const name of settings.keys()) {
    if (!known.includes(name))
      throw new RedisUrlError(`REDIS_URL: "${name}" is unknown; allowed: ${known.join(", ") || "none"}`);
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new RedisUrlError("REDIS_URL: write a % that is not part of an escape as %25");
  }
}
