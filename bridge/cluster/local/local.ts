import { randomBytes } from "node:crypto";
import type { Logger } from "pino";
import type { OnDamage } from "../../../platform/level/damage.ts";
import type { Cluster, ClusterNode } from "../cluster.ts";
import { LocalDocuments } from "./documents.ts";
import { LocalLeases, LocalRegister, LocalSignals } from "./in-memory.ts";

export interface LocalClusterOptions {
  /** The folder of the documents. Created if it does not exist. */
  path: string;
  /** Called when damage is found. Default: damage is only logged. */
  onDamage?: OnDamage;
  logger: Logger;
  /** The clock by which documents expire, milliseconds since 1970. Default: `Date.now`. */
  expiryNow?: () => number;
}

/**
 * Opens a cluster of one: documents in LevelDB, everything else in memory because it ends with the node.
 * @throws {StoreUnusableError} another process uses the folder, or the folder cannot be written
 */
export async function openLocalCluster({
  path,
  onDamage = () => {},
  logger,
  expiryNow = Date.now,
}: LocalClusterOptions): Promise<Cluster> {
  const nodeId = randomBytes(6).toString("hex");
  const startedAt = Date.now();
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
      return [{ id: nodeId, startedAt, lastSeenAt: Date.now(), connections: connections.size }];
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
