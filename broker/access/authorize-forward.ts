import type { AedesPublishPacket, Client } from "aedes";
import type { Logger } from "pino";
import type { TopicTree } from "../../contract/topics.ts";
import { POSITION_IDS } from "../aedes/message-ids.ts";
import { LIVE_LOG_ID } from "../aedes/topic-emitter.ts";
import { WriteBatch } from "../aedes/write-batch.ts";
import { type ClientAccess, type ClientRegistry, comesLive, grantedQos } from "./client-registry.ts";
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
  /** How sessions send publications of the log. */
  deliveries: LogDeliveries;
  /** The position of a retained message that was read; undefined if the topic has changed since. */
  retainedPosition(topic: string, payload: Uint8Array): number | undefined;
  maxQueuedBytes: number;
  maxUnsentBytes: number;
  logger: Logger;
}

/**
 * Aedes' hook for each delivery to a client. Checks the client's permissions at every delivery, because subscriptions
 * may have been stored with earlier permissions.
 *
 * Bounds what is buffered for a slow client. Messages of QoS 0 are dropped while more than `maxQueuedBytes` wait for
 * the connection. Messages of QoS 1 and 2 may not be dropped, so the connection is closed when more than
 * `maxUnsentBytes` wait: a client with a clean session learns from the closed connection that it has missed messages. A
 * persistent session stays behind in the log instead.
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

  /** Called for live and retained messages, and for those that a session sends. @returns null when the message is not delivered */
  readonly hook = (client: Client, packet: AedesPublishPacket): AedesPublishPacket | null => {
    const access = this.#options.registry.get(client);
    // The connection has just ended. If this returned null, the session would take the message for refused.
    if (access === undefined) return client.conn.destroyed ? packet : null;
    if (!access.set.mayReceive(packet.topic, packet.payload)) return null;
    const { deliveries } = this.#options;
    if (packet.brokerId === deliveries.logId) {
      const messageId = deliveries.messageIdAt(client, packet.brokerCounter);
      if (messageId === undefined) return null;
      this.#deliver(client, access, packet);
      return { ...packet, messageId };
    }
    if (packet.retain && this.alsoComesLive(access, packet.topic, packet.payload)) return null;
    // Retained messages need no limit: they are read only as fast as the client takes them.
    if (!packet.retain) {
      const { maxQueuedBytes } = this.#options;
      // The filter grants QoS 0, and the client's session sends it if another filter grants QoS 1 or 2.
      const isForSession = packet.brokerId === LIVE_LOG_ID && packet.qos > 0 && !client.clean;
      if (isForSession && grantedQos(access, packet.topic) > 0) return null;
      if (client.conn.writableLength > maxQueuedBytes) {
        this.#batch.release(client.conn);
        if (client.conn.writableLength > maxQueuedBytes && this.#isDropped(client, access, packet)) return null;
      }
    }
    this.#deliver(client, access, packet);
    if (packet.qos === 0) return packet;
    if (!client.clean) {
      const qos = packet.qos === 2 && grantedQos(access, packet.topic) === 1 ? 1 : packet.qos;
      return { ...packet, qos, messageId: deliveries.nextUnloggedId(client) };
    }
    // Aedes makes a packet for each delivery, and numbers the packets that have no id with ids of all kinds.
    packet.messageId = access.lastMessageId = access.lastMessageId >= POSITION_IDS ? 1 : access.lastMessageId + 1;
    if (packet.qos === 2 && grantedQos(access, packet.topic) === 1) {
      // Aedes lowers the QoS only for a filter without wildcards [MQTT-3.8.4-6].
      return { ...packet, qos: 1 };
    }
    if (access.receipts !== undefined && this.#isCommand(packet.topic)) access.receipts.track(packet.messageId, packet);
    return packet;
  };

  /** Whether the client gets a retained message, or a newer one of the topic, as a live message. */
  alsoComesLive(access: ClientAccess, topic: string, payload: AedesPublishPacket["payload"]): boolean {
    if (typeof payload === "string") return false;
    const position = this.#options.retainedPosition(topic, payload);
    return position === undefined || comesLive(access, topic, position);
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
      if (packet.brokerId === LIVE_LOG_ID) access.liveAbove = packet.brokerCounter;
      return true;
    }
    const unsentBytes = client.conn.writableLength;
    if (unsentBytes > this.#options.maxUnsentBytes && !client.conn.destroyed) {
      this.slowClients++;
      this.#options.logger.warn({ ...namesOf(access), unsentBytes }, "client disconnected: it reads too slowly");
      const why = `it reads too slowly: ${unsentBytes} bytes are unsent, and no message may be dropped`;
      client.conn.destroy(new SlowClientError(why));
    }
    return false;
  }
}
