import { randomBytes } from "node:crypto";
import type { Logger } from "pino";
import type { OnDamage } from "../../../platform/level/damage.ts";
import type { Cluster } from "../cluster.ts";
import { LocalDocuments } from "./documents.ts";
import { LocalLeases, LocalRegister, LocalSignals } from "./in-memory.ts";

interface LocalClusterOptions {
  /** The folder of the documents; created if missing. */
  path: string;
  /** Default: damage is only logged. */
  onDamage?: OnDamage;
  logger: Logger;
  /** The clock by which documents expire. Default: `Date.now`. */
  expiryNow?: () => number;
}

/**
 * Keeps documents in LevelDB, and all other state in memory until the node stops.
 * @throws {StoreUnusableError} another process uses the folder, or the folder cannot be written
 */
export async function openLocalCluster(options: LocalClusterOptions): Promise<Cluster> {
  const { path, onDamage = () => {}, logger, expiryNow = Date.now } = options;
  const nodeId = randomBytes(9).toString("base64url");
  const startedAt = Date.now();
  const documents = await LocalDocuments.open({ path, onDamage, logger, now: expiryNow });
  const signals = new LocalSignals(nodeId, logger);
  const leases = new LocalLeases();
  const connections = new LocalRegister();
  return {
    ...{ nodeId, shared: false, documents, signals, leases, connections, counters: undefined, rates: undefined },
    nodes: async () => [{ id: nodeId, name: "", startedAt, lastSeenAt: Date.now(), connections: connections.size }],
    onNodes: () => () => {},
    now: Date.now,
    disagreements: [],
    get unavailableReason() {
      return documents.unavailableReason;
    },
    check: () => documents.probe(),
    stop() {
      signals.stop();
      leases.stop();
      return documents.close();
    },
  };
}
