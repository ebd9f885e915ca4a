import type { AedesOptions } from "aedes";

/** Packets that a client may send before its CONNACK. */
const MAX_EARLY_PACKETS = 100;
/** QoS 2 publications of one client between PUBREC and PUBREL. */
const MAX_INFLIGHT_QOS2 = 1000;
/** A topic with more levels ends the connection. The access rules refuse far shorter topics, and answer the client. */
const MAX_TOPIC_LEVELS = 100;

interface AedesConfig {
  maxClientIdLength: number;
  connectTimeoutMs: number;
  drainTimeoutMs: number;
  heartbeatMs: number;
}

/**
 * The options of Aedes 1.2. All faults of Aedes that the broker works around are listed in `docs/decisions/aedes.md`.
 */
export function aedesOptions(
  store: { readonly brokerId: string },
  { maxClientIdLength, connectTimeoutMs, drainTimeoutMs, heartbeatMs }: AedesConfig,
): Omit<AedesOptions, "mq"> {
  return {
    // Queues are ordered by this id, so it may not be random (Aedes' default). A fixed id would reuse keys of messages.
    id: store.brokerId,
    persistence: store,
    heartbeatInterval: heartbeatMs,
    // Aedes' timeout ends with the CONNECT packet, so authentication could take forever. `listeners/connections.ts` has
    // a timeout that ends with the CONNACK and always fires first.
    connectTimeout: 2 * connectTimeoutMs,
    drainTimeout: drainTimeoutMs,
    queueLimit: MAX_EARLY_PACKETS,
    maxInflightInbound: MAX_INFLIGHT_QOS2,
    // Applies only to MQTT 3.1, which allows 23 characters. The broker allows as many as with MQTT 3.1.1.
    maxClientsIdLength: maxClientIdLength,
    maxTopicLevels: MAX_TOPIC_LEVELS,
  };
}
