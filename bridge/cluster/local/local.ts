import { randomBytes } from "node:crypto";
import type { Logger } from "pino";
import type { OnDamage } from "../../../platform/level/damage.ts";
import type { Cluster, ClusterNode } from "../cluster.ts";
import { LocalDocuments } from "./documents.ts";
import { LocalLeases, LocalRegister, LocalSignals } from "./in-memory.ts";

export interface LocalClusterOptions {
  /** The folder of the documents, made when it is not there. */
  path: string;
  /** Called when something is found to be damaged. Default: the log alone says so. */
  onDamage?: OnDamage;
  logger: Logger;
  /** Milliseconds since 1970. Default: the clock. */
  now?: () => number;
  /** The clock by which documents expire, milliseconds since 1970. Default: `now`. */
  expiryNow?: () => number;
}

/**
 * A cluster of one: documents in LevelDB, everything else in memory, for it ends with the node anyway.
 * @throws {StoreUnusableError} the folder cannot be used: another process has it open, or it cannot be written
 */
export async function openLocalCluster({
  path,
  onDamage = () => {},
  logger,
  now = Date.now,
  expiryNow = now,
}: LocalClusterOptions): Promise<Cluster> {
  const nodeId = randomBytes(6).toString("hex");
  const startedAt = now();
  const documents = await LocalDocuments.open({ path, onDamage, logger, now: expiryNow });
  const signals = new LocalSignals(nodeId, logger);
  const leases = new LocalLeases();
  const connections = new LocalRegister();
  let stopping: Promise<void> | undefined;
  return {
    nodeId,
    shared: false,
    documents,
    signals,
    leases,
    connections,
    counters: undefined,
    async nodes(): Promise<readonly ClusterNode[]> {
      return [{ id: nodeId, startedAt, lastSeenAt: now(), connections: connections.size }];
    },
    get unavailableReason() {
      return documents.unavailableReason;
    },
    check: () => documents.probe(),
    stop() {
      stopping ??= (async () => {
        signals.stop();
        leases.stop();
        await documents.close();
      })();
      return stopping;
    },
  };
}
