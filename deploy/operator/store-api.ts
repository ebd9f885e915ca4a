import { join } from "node:path";
import { pino } from "pino";
import { openAudit } from "../../bridge/auth/audit.ts";
import { openAuthority } from "../../bridge/auth/authority.ts";
import { createTokens } from "../../bridge/auth/tokens.ts";
import { openCameraRecords } from "../../bridge/cameras/camera-records.ts";
import { openInProcessApi } from "../../bridge/http/in-process-api.ts";
import { grantsOf } from "../../contract/permissions.ts";
import { topicTree } from "../../contract/topics.ts";
import { StoreUnusableError } from "../../platform/level/errors.ts";
import { RunningParts } from "../../platform/running-parts.ts";
import { readBackendConfig } from "../config/backend-config.ts";
import { openCluster } from "../stores/cluster.ts";
import { importDevices } from "../stores/import-devices.ts";
import { type OperatorApi, OperatorApiError, resultOf } from "./operator-api.ts";

/**
 * Opens the store of a stopped server, so that users and cameras can be added before the first start. Generates missing
 * secrets, so that a token that is signed now is valid after the start of the server.
 * @throws {ConfigurationError} @throws {DataPathError} @throws {RedisUnusableError} @throws {StoreUnavailableError}
 * @throws {OperatorApiError} another process has the store open
 */
export async function openStoreApi(env: NodeJS.ProcessEnv): Promise<OperatorApi> {
  const { bridge, store } = readBackendConfig(env);
  const { dataPath } = bridge;
  const logger = pino({ level: "silent" });
  const parts = new RunningParts(logger);
  try {
    const { cluster } = await openCluster({ store, dataPath, parts, logger });
    const authority = parts.add(
      await openAuthority({
        ...{ tokens: createTokens({ secrets: bridge.jwtSecrets }), documents: cluster.documents },
        ...{ config: bridge.accounts, logger },
      }),
    );
    const { documents } = cluster;
    const records = parts.add(await openCameraRecords({ documents, logger }, authority.cameraGroups));
    await importDevices({ path: join(dataPath, "devices.json"), devices: authority.devices, logger });
    const audit = parts.add(
      await openAudit({
        // The standard output contains only the result of the command.
        destination: bridge.auditLog === "stdout" ? "stderr" : bridge.auditLog,
        maxBytes: bridge.maxAuditLogBytes,
        logger,
      }),
    );
    const tree = topicTree(bridge.topicRoot);
    const operator = { kind: "operator", name: "operator", grants: grantsOf(["admin"], { tree }) } as const;
    const api = parts.add(
      openInProcessApi({
        ...{ authority, audit, records, channels: bridge.channels },
        ...{ http: bridge.http, addressOf: ({ socket }) => socket.remoteAddress ?? "" },
        callers: { of: () => operator, orLocal: () => operator },
        // Only servers have statistics.
        stats: { add: () => {} },
      }),
    );
    return {
      isStore: true,
      call: async (method, path, body) => resultOf(await api.answer({ method, path, body })),
      close: () => parts.stop(),
    };
  } catch (error) {
    await parts.stop();
    if (!(error instanceof StoreUnusableError)) throw error;
    throw new OperatorApiError(`the store cannot be opened: ${error.message}`, { cause: error });
  }
}
