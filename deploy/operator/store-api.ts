import { join } from "node:path";
import { type Logger, pino } from "pino";
import { openAudit } from "../../bridge/auth/audit.ts";
import { openAuthority } from "../../bridge/auth/authority.ts";
import { createTokens } from "../../bridge/auth/tokens.ts";
import type { Cluster } from "../../bridge/cluster/cluster.ts";
import { openLocalCluster } from "../../bridge/cluster/local/local.ts";
import { openRedisCluster } from "../../bridge/cluster/redis/redis.ts";
import { openInProcessApi } from "../../bridge/http/in-process-api.ts";
import { grantsOf } from "../../contract/permissions.ts";
import { topicTree } from "../../contract/topics.ts";
import { StoreUnusableError } from "../../platform/level/errors.ts";
import { readBackendConfig } from "../config/backend-config.ts";
import type { StoreConfig } from "../config/config.ts";
import { importDevices } from "../import-devices.ts";
import { openRedis } from "../redis/redis.ts";
import { checkRedis } from "../redis/redis-check.ts";
import { type OperatorApi, OperatorApiError, resultOf } from "./operator-api.ts";

/**
 * Opens the store that a server with these settings has, so that users and cameras can be let in before the first start.
 * The secrets are made if there are none: a token that is signed now is good when the server runs.
 *
 * @throws {ConfigurationError} @throws {DataPathError} @throws {RedisUnusableError} @throws {StoreUnavailableError}
 * @throws {OperatorApiError} another process has the store open
 */
export async function openStoreApi(env: NodeJS.ProcessEnv): Promise<OperatorApi> {
  const { bridge, store } = readBackendConfig(env);
  const logger = pino({ level: "silent" });
  const opened: (() => Promise<void> | void)[] = [];
  const close = async () => {
    for (const end of opened.splice(0).reverse()) await end();
  };
  try {
    const cluster = await openCluster({ store, dataPath: bridge.dataPath, logger, opened });
    const authority = await openAuthority({
      ...{ tokens: createTokens({ secrets: bridge.jwtSecrets }), documents: cluster.documents },
      ...{ config: bridge.accounts, logger },
    });
    opened.push(() => authority.stop());
    await importDevices({ path: join(bridge.dataPath, "devices.json"), devices: authority.devices, logger });
    // The standard output is the command's answer.
    const audit = await openAudit({
      ...{ destination: bridge.auditLog === "stdout" ? "stderr" : bridge.auditLog, maxBytes: bridge.maxAuditLogBytes },
      logger,
    });
    opened.push(() => audit.stop());
    const tree = topicTree(bridge.topicRoot);
    const operator = { kind: "operator", name: "operator", grants: grantsOf(["admin"], { tree }) } as const;
    const desk = openInProcessApi({
      ...{ authority, audit, channels: bridge.channels },
      ...{ http: bridge.http, addressOf: ({ socket }) => socket.remoteAddress ?? "" },
      callers: { of: () => operator, orLocal: () => operator },
      // Totals are what servers did.
      stats: { add: () => {} },
    });
    opened.push(() => desk.stop());
    return {
      isStore: true,
      call: async (method, path, body) => resultOf(await desk.answer({ method, path, body })),
      close,
    };
  } catch (error) {
    await close();
    if (!(error instanceof StoreUnusableError)) throw error;
    throw new OperatorApiError(`the store cannot be opened: ${error.message}`, { cause: error });
  }
}

interface ClusterOptions {
  store: StoreConfig;
  dataPath: string;
  logger: Logger;
  /** Gets what ends it. */
  opened: (() => Promise<void> | void)[];
}

async function openCluster({ store: { url, prefix }, dataPath, logger, opened }: ClusterOptions): Promise<Cluster> {
  if (url !== undefined) {
    const redis = openRedis({ url, prefix, logger });
    opened.push(() => redis.close());
    await checkRedis({ redis, logger });
    const cluster = await openRedisCluster({ redis, logger });
    opened.push(() => cluster.stop());
    return cluster;
  }
  const cluster = await openLocalCluster({ path: join(dataPath, "cluster"), logger });
  opened.push(() => cluster.stop());
  return cluster;
}
