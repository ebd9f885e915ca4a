import type { AedesOptions } from "aedes";

/** Packets that a client may send before its CONNACK. */
const MAX_EARLY_PACKETS = 100;
/** QoS 2 publications of one client between PUBREC and PUBREL. */
const MAX_INFLIGHT_QOS2 = 1000;
/**
 * Aedes closes the connection of a client that uses a topic with more levels. The access rules refuse far shorter
 * topics.
 */
const MAX_TOPIC_LEVELS = 100;

/**
 * The longest time of a timer. Aedes would disconnect clients that read slowly. `listeners/drain-watch.ts` disconnects
 * those that read nothing. Without a timeout, Aedes adds a listener to the connection for each delivery that waits.
 */
const NEVER_MS = 2_147_483_647;

interface AedesConfig {
  maxClientIdLength: number;
  connectTimeoutMs: number;
  heartbeatMs: number;
}

/** The options of Aedes 1.2. `docs/decisions/aedes.md` lists the faults of Aedes. */
export function aedesOptions(
  store: { readonly brokerId: string },
  { maxClientIdLength, connectTimeoutMs, heartbeatMs }: AedesConfig,
): Omit<AedesOptions, "mq"> {
  return {
    // The store sorts queued messages by this id. A random id, the default, would mix up their order; a fixed id would
    // overwrite messages of earlier runs.
    id: store.brokerId,
    persistence: store,
    heartbeatInterval: heartbeatMs,
    // The timeout of `listeners/connections.ts` fires first.
    connectTimeout: 2 * connectTimeoutMs,
    drainTimeout: NEVER_MS,
    queueLimit: MAX_EARLY_PACKETS,
    maxInflightInbound: MAX_INFLIGHT_QOS2,
    // Aedes applies this limit to MQTT 3.1 clients only. The standard's limit is 23 characters; here it is the limit of
    // MQTT 3.1.1 clients.
    maxClientsIdLength: maxClientIdLength,
    maxTopicLevels: MAX_TOPIC_LEVELS,
  };
}
