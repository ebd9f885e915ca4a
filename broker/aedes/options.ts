import type { AedesOptions } from "aedes";

/** Packets a client may send before its CONNACK. */
const MAX_EARLY_PACKETS = 100;
/** QoS 2 publications of one client between PUBREC and PUBREL. */
const MAX_INFLIGHT_QOS2 = 1000;
/** Topics with more levels end the connection. The access rules refuse far shorter ones, and answer the client. */
const MAX_TOPIC_LEVELS = 100;

interface AedesConfig {
  maxClientIdLength: number;
  connectTimeoutMs: number;
  drainTimeoutMs: number;
  heartbeatMs: number;
}

/**
 * The options of Aedes 1.2. The faults of Aedes that the broker works around, and where:
 *
 * - It acknowledges a publication before it stores or forwards it: `ingest-gate.ts`, `forwarding-broker.ts`.
 * - Its emitter waits for clients that do not read, and lets publications overtake each other: `topic-emitter.ts`.
 * - It writes each delivery with its own system call: `write-batch.ts`.
 * - It keeps no record of what it sent to a clean session, so a PUBACK does not tell what was acknowledged:
 *   `delivery-receipts.ts`.
 * - Its parser collects packets of up to 256 MB and accepts any number of packets at once: `listeners/packet-meter.ts`
 *   and `listeners/throttled-reading.ts`.
 * - A client that is refused in `preConnect` gets no CONNACK: `access/authenticate.ts`.
 * - It stores the will before authorizing it: `access/will-admission.ts`. It deletes a stored will even when publishing
 *   it failed: `access/wills.ts`.
 * - It lowers the QoS of a delivery only for filters without wildcards: `access/authorize-forward.ts`.
 * - It reads a session's queue while delivering live messages, out of order: `sessions/replays.ts`.
 * - It does not listen for errors of stores: the stores in `sessions/` never reject where Aedes would not notice.
 */
export function aedesOptions(
  store: { readonly brokerId: string },
  { maxClientIdLength, connectTimeoutMs, drainTimeoutMs, heartbeatMs }: AedesConfig,
): Omit<AedesOptions, "mq"> {
  return {
    // Aedes' default is random. Queues are ordered by this id, and a fixed id would reuse the keys of queued messages.
    id: store.brokerId,
    persistence: store,
    heartbeatInterval: heartbeatMs,
    // Aedes' timeout ends with the CONNECT packet, so authentication could take forever. `listeners/connections.ts` has
    // a timeout that ends with the CONNACK and always fires first.
    connectTimeout: 2 * connectTimeoutMs,
    drainTimeout: drainTimeoutMs,
    queueLimit: MAX_EARLY_PACKETS,
    maxInflightInbound: MAX_INFLIGHT_QOS2,
    // Only for MQTT 3.1, whose client ids have at most 23 characters. The broker allows as many as with MQTT 3.1.1.
    maxClientsIdLength: maxClientIdLength,
    maxTopicLevels: MAX_TOPIC_LEVELS,
  };
}
