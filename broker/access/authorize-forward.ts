import type { AedesPublishPacket, Client } from "aedes";
import type { Logger } from "pino";
import type { TopicTree } from "../../contract/topics.ts";
import { LIVE_LOG_ID } from "../aedes/topic-emitter.ts";
import { WriteBatch } from "../aedes/write-batch.ts";
import { type ClientAccess, type ClientRegistry, grantedQos } from "./client-registry.ts";
import { namesOf } from "./session-names.ts";

class SlowClientError extends Error {
  override name = "SlowClientError";
}

/** See `sessions/storage.ts`. */
interface LogDeliveries {
  readonly logId: string;
  messageIdAt(client: Client, position: number): number | undefined;
  nextUnloggedId(client: Client): number;
}

interface AuthorizeForwardOptions {
  tree: TopicTree;
  registry: ClientRegistry;
  /** Without {@link deliveries}: whether the client will get the publication from its queue. */
  isDeliveredFromQueue(client: Client, brokerCounter: number): boolean;
  /** How publications of the log are delivered. Undefined: messages are queued for each session. */
  deliveries: LogDeliveries | undefined;
  /** Whether the payload is still that of the topic's retained message. */
  isNewestRetained(topic: string, payload: Uint8Array): boolean;
  maxQueuedBytes: number;
  maxUnsentBytes: number;
  logger: Logger;
}

/**
 * Aedes' hook for each delivery to a client. Checks the client's permissions at every delivery, because subscriptions
 * and queued messages may have been stored with earlier permissions.
 *
 * Bounds what is buffered for a slow client. Messages of QoS 0 are dropped while more than `maxQueuedBytes` wait for
 * the connection. Messages of QoS 1 and 2 may not be dropped, so the connection is closed when more than
 * `maxUnsentBytes` wait. A persistent session then gets every message from its queue. A clean session learns from the
 * closed connection that it has missed messages.
 */
export class AuthorizeForward {
  readonly #options: AuthorizeForwardOptions;
  readonly #batch = new WriteBatch();
  delivered = 0;
  /** QoS 0 messages dropped for slow clients. */
  shed = 0;
  slowClients = 0;

  constructor(options: AuthorizeForwardOptions) {
    this.#options = options;
  }

  /** Called for live, retained and queued messages. @returns null when the message is not delivered */
  readonly hook = (client: Client, packet: AedesPublishPacket): AedesPublishPacket | null => {
    const access = this.#options.registry.get(client);
    // The connection has just ended. If this returned null, Aedes would remove the message from the session's queue.
    if (access === undefined) return client.conn.destroyed ? packet : null;
    if (!access.set.mayReceive(packet.topic, packet.payload)) return null;
    const { deliveries } = this.#options;
    if (deliveries !== undefined && packet.brokerId === deliveries.logId) {
      const messageId = deliveries.messageIdAt(client, packet.brokerCounter);
      if (messageId === undefined) return null;
      this.#deliver(client, access, packet);
      return { ...packet, messageId };
    }
    const { topic, payload } = packet;
    if (packet.retain && typeof payload !== "string" && !this.#options.isNewestRetained(topic, payload)) return null;
    // Retained and queued messages need no limit: they are read only as fast as the client takes them. A queued message
    // has a message id.
    if (!packet.retain && packet.messageId === undefined) {
      const { maxQueuedBytes } = this.#options;
      if (packet.qos > 0 && this.#isForSession(client, packet) && grantedQos(access, packet.topic) > 0) return null;
      if (client.conn.writableLength > maxQueuedBytes) {
        this.#batch.release(client.conn);
        if (client.conn.writableLength > maxQueuedBytes && this.#isDropped(client, access, packet)) return null;
      }
      // Set only for live deliveries: a queued message may come from an earlier run, whose numbers this run uses again.
      access.lastForwarded = packet.brokerCounter;
    }
    this.#deliver(client, access, packet);
    if (packet.qos === 0) return packet;
    if (!client.clean && deliveries !== undefined) {
      const qos = packet.qos === 2 && grantedQos(access, packet.topic) === 1 ? 1 : packet.qos;
      return { ...packet, qos, messageId: deliveries.nextUnloggedId(client) };
    }
    if (packet.qos === 2 && packet.messageId === undefined && grantedQos(access, packet.topic) === 1) {
      // Aedes lowers the QoS only for a filter without wildcards [MQTT-3.8.4-6].
      return { ...packet, qos: 1 };
    }
    if (access.receipts !== undefined && this.#isCommand(packet.topic)) return access.receipts.track(packet);
    return packet;
  };

  /** Whether the client's session sends the publication, so that a filter that grants QoS 1 or 2 gets it from there. */
  #isForSession(client: Client, { brokerId, brokerCounter }: AedesPublishPacket): boolean {
    const { deliveries, isDeliveredFromQueue } = this.#options;
    if (deliveries === undefined) return isDeliveredFromQueue(client, brokerCounter);
    return brokerId === LIVE_LOG_ID && !client.clean;
  }

  #deliver(client: Client, access: ClientAccess, { qos }: AedesPublishPacket): void {
    this.delivered++;
    this.#batch.hold(client.conn);
    access.expectedAcks += qos;
  }

  #isCommand(topic: string): boolean {
    return this.#options.tree.parse(topic)?.kind === "camera-command";
  }

  #isDropped(client: Client, access: ClientAccess, packet: AedesPublishPacket): boolean {
    if (packet.qos === 0 || grantedQos(access, packet.topic) === 0) {
      this.shed++;
      return true;
    }
    const unsentBytes = client.conn.writableLength;
    if (unsentBytes > this.#options.maxUnsentBytes && !client.conn.destroyed) {
      this.slowClients++;
      this.#options.logger.warn({ ...namesOf(access), unsentBytes }, "client disconnected: it reads too slowly");
      const why = `it reads too slowly: ${unsentBytes} bytes are unsent, and no message may be dropped`;
      client.conn.destroy(new SlowClientError(why));
    }
    // The message is kept: Aedes would remove a dropped message from the session's queue.
    return false;
  }
}
