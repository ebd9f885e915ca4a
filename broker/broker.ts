import { sharedFilterOf } from "../contract/shares.ts";
import type { AccessRefusal, AuditedAct } from "../platform/identity.ts";
import type { Delivery, OutgoingPublication, RefusedPublication, TakeOver } from "../platform/publications.ts";
import type { ClientAccess } from "./access/client-registry.ts";
import type { RefusedDevice } from "./access/refused-devices.ts";
import { acknowledgedMessage } from "./aedes/delivery-receipts.ts";
import { type OpenListeners, openListeners, type Ports } from "./listeners/listeners.ts";

import { type BrokerOptions, composed, type Parts } from "./parts.ts";

/** {@link Broker.stop} waits this long for unfinished publications, and then for clients to close. */
const STOP_DRAIN_MS = 700;
const STOP_CLOSE_MS = 700;
const POLL_MS = 10;

/** Counts since the start, and current sizes. */
interface BrokerStats {
  clients: number;
  /** Open connections, authenticated or not. */
  connections: number;
  /** Connections refused because of a limit before their CONNECT. */
  refusedConnections: number;
  /** CONNECTs answered with a refusing CONNACK. */
  refusedClients: number;
  /** Registered devices that were refused and have not connected since. */
  refusedDevices: readonly RefusedDevice[];
  /** Publications of clients that passed the access rules. */
  received: number;
  refusedSubscriptions: number;
  /** Messages delivered to clients. */
  delivered: number;
  /** QoS 0 messages dropped for slow clients. */
  shed: number;
  /** Connections closed because the client was too slow for messages of QoS 1 or 2. */
  slowClients: number;
  /** Publications that were acknowledged, and discarded or not retained. */
  refusedPublishes: number;
  /** Publications that could not be made durable and were not acknowledged. */
  notAccepted: number;
  sessions: number;
  retainedMessages: number;
  /** Publications that were not retained because of a limit. */
  refusedRetained: number;
  /** Messages in the queues of persistent sessions. */
  offlineMessages: number;
  offlineBytes: number;
  /** Messages dropped from full queues. */
  droppedOfflineMessages: number;
  /** Groups of shared subscriptions, and their members. */
  shareGroups: number;
  shareMembers: number;
  /** Messages that wait for a member of a group, or for a member's acknowledgement. */
  shareBacklog: number;
}

/** Each `on…` method returns a function that removes the listener. */
export interface Broker {
  /** Opens the listeners. @throws {ListenError} the message names the variable, the port and the remedy */
  listen(): Promise<void>;
  /** Open connections stay open. Idempotent. */
  stopListening(): void;
  /** Empty before {@link listen}. */
  readonly ports: Ports;
  /** Publishes without access rules and ingest. Resolves when subscribers and queues have the message. */
  publish(publication: OutgoingPublication): Promise<void>;
  connected(identity: string): boolean;
  /** Calls back when a device has acknowledged a command. */
  onDelivered(listener: (delivery: Delivery) => void): () => void;
  onTakeOver(listener: (takeOver: TakeOver) => void): () => void;
  /** Calls back for each connection beyond a limit, and for each refused CONNECT, subscription and publication. */
  onRefused(listener: (refusal: AccessRefusal) => void): () => void;
  /** Calls back once a minute per sender and reason, for publications that were acknowledged and discarded. */
  onPublicationRefused(listener: (refused: RefusedPublication) => void): () => void;
  /** Calls back for each command and broadcast of a client, accepted or not. */
  onCarriedOut(listener: (act: AuditedAct) => void): () => void;
  /** The topics with a retained message below this topic. */
  retainedBelow(topic: string): readonly string[];
  clients(): readonly ClientAccess[];
  /** Closes the connections of the matching clients, whose permissions have ended. @returns how many */
  disconnect(matches: (client: ClientAccess) => boolean): number;
  /** Discards the sessions of removed devices, changed secrets and revoked tokens. @returns how many. Never rejects. */
  discardEnded(): Promise<number>;
  stats(): BrokerStats;
  /** Closes all connections and the store in under 2 s. Wills stay in the store and are not published. */
  stop(): Promise<void>;
}

/** Opens the store and starts Aedes, but no listener. @throws {StorageError} @throws {StoreUnusableError} */
export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const parts = await composed(options);
  try {
    await startAedes(parts);
    parts.cleanup.start();
  } catch (error) {
    parts.bus?.close();
    await parts.storage.destroy();
    throw error;
  }
  return brokerOf(parts);
}

/** Installs the hooks of Aedes and starts it. */
async function startAedes(parts: Parts): Promise<void> {
  const { aedes, registry, storage, connections, lifecycle, logger } = parts;
  registry.unused.add((key) => storage.release(key));
  aedes.preConnect = parts.authenticate.preConnect;
  aedes.authenticate = parts.authenticate.authenticate;
  aedes.authorizePublish = parts.publishing.hook;
  aedes.authorizeSubscribe = parts.subscribing.hook;
  aedes.authorizeForward = parts.forwarding.hook;
  aedes.on("connackSent", ({ returnCode }, client) => {
    if (returnCode !== 0) return;
    connections.accepted(client.conn);
    const access = registry.get(client);
    if (access !== undefined) access.isAccepted = true;
  });
  aedes.on("client", lifecycle.connected);
  aedes.on("clientError", lifecycle.failed);
  aedes.on("connectionError", lifecycle.failed);
  aedes.on("unsubscribe", (filters, client) => {
    const access = registry.get(client);
    for (const filter of filters) {
      access?.filters.delete(filter);
      const shared = sharedFilterOf(filter);
      if (access !== undefined && shared !== undefined && client.clean)
        storage.shares.unsubscribe(client.id, access.identity, shared);
    }
  });
  aedes.on("ack", (packet, client) => {
    const message = acknowledgedMessage(packet);
    const identity = registry.get(client)?.identity;
    if (message !== undefined && identity !== undefined) parts.deliveries.call({ identity, ...message });
  });
  aedes.addListener("error", (error) => logger.error({ err: error }, "MQTT broker failed"));
  await aedes.listen();
  storage.startWills(
    (will) =>
      new Promise((resolve) => {
        parts.publishing.hook(null, will, () => aedes.publish(will, () => resolve()));
      }),
  );
  aedes.follow(parts.mqttLog.publications, parts.now);
}

function brokerOf(parts: Parts): Broker {
  const { aedes, registry, storage, lifecycle, cleanup, connections } = parts;
  let listeners: OpenListeners | undefined;
  let stopping: Promise<void> | undefined;
  const stopListening = () => listeners?.close();
  return {
    stopListening,
    get ports() {
      return listeners?.ports ?? {};
    },
    async listen() {
      listeners ??= await openListeners({ ...parts, onConnection: connections.open });
    },
    async publish({ topic, payload, qos, retain, fence }) {
      if (qos > 0 || retain) {
        await parts.mqttLog.append({ topic, payload, qos, retain, fence });
        return;
      }
      await new Promise<void>((resolve, reject) => {
        aedes.publish({ cmd: "publish", topic, payload, qos, retain, dup: false }, (error) => {
          if (error) reject(error);
          else resolve();
        });
      });
    },
    connected: (identity) => registry.connections(identity) > 0,
    onDelivered: (listener) => parts.deliveries.add(listener),
    onTakeOver: (listener) => registry.takeOvers.add(listener),
    onRefused: (listener) => parts.refusals.add(listener),
    onPublicationRefused: (listener) => parts.refusedPublications.reports.add(listener),
    onCarriedOut: (listener) => parts.acts.add(listener),
    retainedBelow: (topic) => storage.retained.topics.match(`${topic}/#`),
    clients: () => [...registry.entries()].map(([, access]) => access),
    disconnect: (matches) => lifecycle.disconnect(matches),
    discardEnded: () => cleanup.discardEnded(),
    stats: () => statsOf(parts),
    stop() {
      stopping ??= stopParts(parts, stopListening);
      return stopping;
    },
  };
}

function statsOf({ registry, storage, admission, connectRefusals, gate, publishing, forwarding, ...parts }: Parts) {
  const { messages, bytes } = storage.queues.totals;
  return {
    clients: registry.size,
    connections: admission.connections,
    refusedConnections: admission.refused,
    refusedClients: connectRefusals.count,
    refusedDevices: connectRefusals.devices.list(),
    received: publishing.received,
    refusedSubscriptions: parts.subscribing.refused,
    delivered: forwarding.delivered + parts.sharedDeliveries.count,
    shed: forwarding.shed,
    slowClients: forwarding.slowClients,
    refusedPublishes: parts.refusedPublications.count,
    notAccepted: gate.notAccepted,
    sessions: storage.sessions,
    retainedMessages: storage.retained.topics.size,
    refusedRetained: storage.retained.refused + publishing.refusedRetained,
    offlineMessages: messages,
    offlineBytes: bytes,
    droppedOfflineMessages: storage.queues.dropped,
    shareGroups: storage.shares.size,
    shareMembers: storage.shares.members,
    shareBacklog: storage.shareBacklog,
  };
}

async function stopParts(parts: Parts, stopListening: () => void): Promise<void> {
  const { aedes, admission, gate } = parts;
  parts.lifecycle.stop();
  parts.storage.stopWills();
  parts.cleanup.stop();
  stopListening();
  parts.connectRefusals.stop();
  parts.willAdmission.stop();
  parts.publishing.stop();
  parts.subscribing.stop();
  await until(() => gate.pending === 0, STOP_DRAIN_MS);
  let closed = false;
  aedes.close(() => {
    closed = true;
  });
  parts.mqtt5.stop();
  await until(() => closed && parts.mqtt5.open === 0, STOP_CLOSE_MS);
  admission.destroyAll();
  parts.refusedPublications.stop();
  parts.bus?.close();
  await parts.storage.destroy();
}

/**
 * Resolves when the condition holds or the timeout has passed. Time in which the process is suspended is not counted.
 */
async function until(condition: () => boolean, timeoutMs: number): Promise<void> {
  for (let left = timeoutMs; !condition() && left > 0; left -= POLL_MS)
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
}
