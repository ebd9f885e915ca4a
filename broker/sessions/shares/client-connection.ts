import type { Duplex } from "node:stream";
import { type Packet, writeToStream } from "mqtt-packet";
import type { LoggedPublication } from "../../../platform/publication-log.ts";
import { WriteBatch } from "../../aedes/write-batch.ts";
import type { Session } from "../storage.ts";
import type { ShareConnection, ShareDelivery } from "./share-client.ts";

/** The most publications of groups that one client has without an acknowledgement. When it dies, other members get them. */
const WINDOW = 64;
/** Bytes that a connection may have unsent before its groups use other members. */
const FULL_BYTES = 256 * 1024;

/** A client of Aedes, as far as deliveries of groups use it. */
interface SharingClient extends Session {
  conn: Duplex;
  close(): void;
}

export function isSharingClient(client: Session): client is SharingClient {
  return "conn" in client && "close" in client;
}

export interface ClientConnectionOptions {
  mayReceive(client: object, publication: LoggedPublication): boolean;
  /** Whether the client's session has no delivery with this message id. */
  isFree(client: Session, messageId: number): boolean;
  /** Called for each delivery. */
  onSent(client: object, qos: 0 | 1 | 2): void;
}

const batch = new WriteBatch();

/**
 * The connection of an MQTT 3.1.1 client to its groups. It writes PUBLISH itself: Aedes would lower the QoS to that of a
 * filter that equals the topic, although the client has another subscription [MQTT-4.8.2-3].
 */
export class ClientConnection implements ShareConnection {
  readonly window = WINDOW;
  readonly #client: SharingClient;
  readonly #options: ClientConnectionOptions;

  constructor(client: SharingClient, options: ClientConnectionOptions) {
    this.#client = client;
    this.#options = options;
  }

  get isFull(): boolean {
    return this.#client.conn.writableLength > FULL_BYTES;
  }

  mayReceive(publication: LoggedPublication): boolean {
    return this.#options.mayReceive(this.#client, publication);
  }

  isFree(messageId: number): boolean {
    return this.#options.isFree(this.#client, messageId);
  }

  send({ publication, qos, messageId, dup }: ShareDelivery): void {
    const { conn, closed } = this.#client;
    if (closed === true || conn.destroyed) return;
    const { topic, payload } = publication;
    const packet: Packet = { cmd: "publish", topic, payload, qos, retain: false, dup, messageId };
    batch.hold(conn);
    this.#options.onSent(this.#client, qos);
    writeToStream(packet, conn);
  }

  close(): void {
    this.#client.close();
  }
}
