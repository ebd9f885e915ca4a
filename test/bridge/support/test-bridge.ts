import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { type IncomingHttpHeaders, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { pino } from "pino";
import { Registry } from "prom-client";
import { WebSocket } from "ws";
import { type Authority, openAuthority } from "../../../bridge/auth/authority.ts";
import { createIdentityProvider } from "../../../bridge/auth/identity-provider.ts";
import { LoginGuard } from "../../../bridge/auth/login-guard.ts";
import { createTokens, type Tokens } from "../../../bridge/auth/tokens.ts";
import { type Bridge, type BridgeOptions, startBridge } from "../../../bridge/bridge.ts";
import type { Cluster } from "../../../bridge/cluster/cluster.ts";
import { openLocalCluster } from "../../../bridge/cluster/local/local.ts";
import { openRedisCluster, type RedisClusterOptions } from "../../../bridge/cluster/redis/redis.ts";
import { readBridgeConfig } from "../../../bridge/config.ts";
import { createIngest } from "../../../bridge/ingest.ts";
import type { Journal } from "../../../bridge/journal/journal.ts";
import { openLevelJournal } from "../../../bridge/journal/stores/level/level.ts";
import { openRedisJournal, type RedisJournalOptions } from "../../../bridge/journal/stores/redis/redis.ts";
import { openPreviews, type Previews } from "../../../bridge/previews/previews.ts";
import { createLatencies } from "../../../bridge/stats/latencies.ts";
import { topicTree } from "../../../contract/topics.ts";
import type { SharedSettings } from "../../../platform/config.ts";
import type { RedisConnections } from "../../../platform/redis/connections.ts";
import { type RecordingLink, recordingLink } from "./recording-link.ts";

export const OPERATOR_KEY = "operator-key-of-the-tests";

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  /** Parsed when it is JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers field by field
  body: any;
}

export interface CallOptions {
  method?: string;
  /** An object is sent as JSON. */
  body?: unknown;
  /** As `Authorization: Bearer`. */
  token?: string;
  headers?: Record<string, string>;
}

/** A bridge on a free port of this machine. Everything is real except the broker. */
export interface TestBridge extends Bridge {
  journal: Journal;
  cluster: Cluster;
  link: RecordingLink;
  tokens: Tokens;
  authority: Authority;
  previews: Previews;
  dataPath: string;
  mint(...permissions: string[]): string;
  /** Publishes like an MQTT client that the broker has authorized. */
  say(topic: string, payload: unknown, retain?: boolean): Promise<void>;
  call(path: string, options?: CallOptions): Promise<Answer>;
  /** Opens an authenticated WebSocket. */
  connect(...permissions: string[]): Promise<WebSocket>;
}

export interface TestBridgeOptions {
  env?: Record<string, string>;
  /** A folder that is kept for the next start. Default: a temporary folder. */
  dataPath?: string;
  pagePath?: string;
  /**
   * Ids of simulated cameras. Default: `north`. No simulator runs. While only these cameras are registered, a token can
   * be minted without the operator key.
   */
  simulated?: readonly string[];
  /** Keeps journal and cluster in this Redis, shared by several bridges. Default: in the data path. */
  redis?: {
    access: RedisConnections;
    cluster?: Partial<RedisClusterOptions>;
    journal?: Partial<Omit<RedisJournalOptions, "membership">>;
  };
  /** Called with each log line of level debug or above. Default: nothing is logged. */
  log?: (line: Record<string, unknown>) => void;
  journal?: (journal: Journal) => Journal;
}

async function openRedisStores(
  { access, ...given }: NonNullable<TestBridgeOptions["redis"]>,
  settings: SharedSettings,
  options: Omit<RedisJournalOptions, "redis" | "membership">,
) {
  const cluster = await openRedisCluster({ redis: access, settings, logger: options.logger, ...given.cluster });
  const { membership } = cluster;
  return { store: await openRedisJournal({ redis: access, membership, ...options, ...given.journal }), cluster };
}

export async function startTestBridge({ env = {}, ...options }: TestBridgeOptions = {}): Promise<TestBridge> {
  const { log } = options;
  const logger =
    log === undefined
      ? pino({ level: "silent" })
      : pino({ level: "debug" }, { write: (line: string) => log(JSON.parse(line)) });
  const dataPath = options.dataPath ?? (await mkdtemp(join(tmpdir(), "bridge-")));
  const config = readBridgeConfig({
    env: { WS_PORT: "0", DATA_PATH: dataPath, JWT_SECRET: "s".repeat(32), OPERATOR_KEY, ARCHIVE: "off", ...env },
    readFile: (path) => readFileSync(path, "utf8"),
  });
  const tree = topicTree(config.topicRoot);
  const { channels } = config;
  const { redis } = options;
  const stores =
    redis === undefined
      ? {
          store: await openLevelJournal({ path: join(dataPath, "journal"), ...config.journal, sync: false, logger }),
          cluster: await openLocalCluster({ path: join(dataPath, "cluster"), logger }),
        }
      : await openRedisStores(redis, config.shared, { ...config.journal, logger });
  const { store, cluster } = stores;
  const journal = options.journal?.(store) ?? store;
  const previews = await openPreviews({ path: join(dataPath, "previews"), ...config.previews });
  const { maxPayloadBytes } = config;
  const registry = new Registry();
  const latencies = createLatencies(registry);
  const ingest = createIngest({ journal, tree, channels, previews, maxPayloadBytes, latencies, logger });
  const link = recordingLink();
  const provider = config.jwks === undefined ? undefined : createIdentityProvider({ ...config.jwks, logger });
  const tokens = createTokens({ secrets: config.jwtSecrets, provider, audience: config.jwtAudience });
  const { simulated = ["north"] } = options;
  const authority = await openAuthority({
    ...{ tokens, documents: cluster.documents, config: config.accounts, simulated, logger },
  });
  const guard = new LoginGuard({ ...config.logins, ...cluster });
  const given: BridgeOptions = {
    config,
    cluster,
    journal,
    ingest,
    link,
    authority,
    guard,
    tree,
    channels,
    previews,
    version: "1.2.3",
    archiveWorker: new URL("../../../dist/bridge/journal/archive/worker.js", import.meta.url),
    ...{ registry, latencies, logger },
  };
  const closeStores = async () => {
    guard.stop();
    authority.stop();
    await previews.close();
    await store.close();
    await cluster.stop();
    if (options.dataPath === undefined) await rm(dataPath, { recursive: true });
  };
  const bridge = await startBridge({
    ...given,
    ...(options.pagePath === undefined ? {} : { pagePath: options.pagePath }),
  }).catch(async (error) => {
    await closeStores();
    throw error;
  });

  const mint = (...permissions: string[]) => authority.mint({ userId: "alice", permissions, ttlSeconds: 600 }).token;
  let stopping: Promise<void> | undefined;
  return {
    address: bridge.address,
    port: bridge.port,
    metricsPort: bridge.metricsPort,
    drain: () => bridge.drain(),
    stop() {
      stopping ??= bridge.stop().then(closeStores);
      return stopping;
    },
    journal,
    cluster,
    link,
    tokens,
    authority,
    previews,
    dataPath,
    mint,
    async say(topic, payload, retain = false) {
      const camera = /^cameras\/([^/]+)/.exec(topic)?.[1];
      const identity = camera === undefined ? "user:somebody" : `device:${camera}`;
      const bytes = Buffer.isBuffer(payload) ? payload : Buffer.from(JSON.stringify(payload));
      await ingest.accept({ identity, topic: `${tree.root}/${topic}`, payload: bytes, qos: 1, retain });
    },
    call: (path, options) => call(bridge.port, path, options),
    async connect(...permissions) {
      const socket = new WebSocket(`ws://127.0.0.1:${bridge.port}/ws`);
      await once(socket, "open");
      socket.send(JSON.stringify({ type: "auth", token: mint(...permissions) }));
      const [message] = await once(socket, "message");
      if (JSON.parse(String(message)).type !== "auth_success") throw new Error(String(message));
      return socket;
    },
  };
}

/** Uses node:http, because tests set Host, Origin and other headers that fetch forbids. */
export async function call(
  port: number,
  path: string,
  { method = "GET", body, token, headers = {} }: CallOptions = {},
): Promise<Answer> {
  const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const outgoing = request({
    host: "127.0.0.1",
    port,
    path,
    method,
    agent: false,
    headers: { ...authorization, ...headers },
  });
  outgoing.end(body === undefined || typeof body === "string" ? body : JSON.stringify(body));
  const [incoming] = await once(outgoing, "response");
  const content = await text(incoming);
  // The response to a HEAD has a content type without content.
  const isJson = content !== "" && String(incoming.headers["content-type"]).startsWith("application/json");
  return {
    status: incoming.statusCode,
    headers: incoming.headers,
    text: content,
    body: isJson && content !== "" ? JSON.parse(content) : undefined,
  };
}
