import type { AedesOptions } from "aedes";

/** Packets that a client may send before its CONNACK. */
const MAX_EARLY_PACKETS = 100;
/** QoS 2 publications of one client between PUBREC and PUBREL. */
const MAX_INFLIGHT_QOS2 = 1000;
/** A topic with more levels ends the connection. The access rules refuse far shorter topics. */
const MAX_TOPIC_LEVELS = 100;

interface AedesConfig {
  maxClientIdLength: number;
  connectTimeoutMs: number;
  drainTimeoutMs: number;
  heartbeatMs: number;
}

/** The options of Aedes 1.2. `docs/decisions/aedes.md` lists the faults of Aedes. */
export function aedesOptions(
  store: { readonly brokerId: string },
  { maxClientIdLength, connectTimeoutMs, drainTimeoutMs, heartbeatMs }: AedesConfig,
): Omit<AedesOptions, "mq"> {
  return {
    // Queues are ordered by this id, which is random by default. A fixed id would reuse keys of messages.
    id: store.brokerId,
    persistence: store,
    heartbeatInterval: heartbeatMs,
    // The timeout of `listeners/connections.ts` fires first.
    connectTimeout: 2 * connectTimeoutMs,
    drainTimeout: drainTimeoutMs,
    queueLimit: MAX_EARLY_PACKETS,
    maxInflightInbound: MAX_INFLIGHT_QOS2,
    // For MQTT 3.1, which allows 23 characters. The broker allows as many as with MQTT 3.1.1.
    maxClientsIdLength: maxClientIdLength,
    maxTopicLevels: MAX_TOPIC_LEVELS,
  };
}
