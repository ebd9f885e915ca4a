import { Readable } from "node:stream";
import type { LoggedPublication } from "../../platform/publication-log.ts";
import { isLogClient, LOG_ID, LogConnection } from "./log-connection.ts";
import type { LogSessions } from "./log-sessions.ts";
import type { SessionCursor } from "./session-cursor.ts";
import type { SessionConnection } from "./session-delivery.ts";
import type { ClientShares } from "./shares/client-shares.ts";
import { subscriptionsOf } from "./shares/share-subscriptions.ts";
import type { Cleared, OutgoingUpdate, Session, StorageOptions } from "./storage.ts";

export interface LogOutgoingOptions extends Pick<StorageOptions, "takeReceipt"> {
  /** Whether the client may receive the publication now. */
  mayReceive(client: object, publication: LoggedPublication): boolean;
}

/** What Aedes asks the store about messages to clients. The cursors of the sessions answer. */
export class LogOutgoing {
  readonly #sessions: LogSessions;
  readonly #shares: ClientShares;
  readonly #options: LogOutgoingOptions;
  readonly #connections = new WeakMap<object, LogConnection>();

  constructor(sessions: LogSessions, shares: ClientShares, options: LogOutgoingOptions) {
    this.#sessions = sessions;
    this.#shares = shares;
    this.#options = options;
  }

  /** See {@link BrokerStorage.connect}. */
  connect(key: string, connection: SessionConnection): { cursor: SessionCursor; released: number[] } | undefined {
    const session = this.#sessions.get(key);
    if (session === undefined) return undefined;
    this.#sessions.bounds.cut(session);
    const { cursor } = session;
    return { cursor, released: cursor.connect(connection) };
  }

  /** A message to the client has its id, or PUBREC has arrived and its PUBREL must be durable. */
  async update(client: Session, packet: OutgoingUpdate): Promise<void> {
    const cursor = this.#sessions.get(client.id)?.cursor;
    const connection = this.#connections.get(client);
    if (cursor === undefined || connection === undefined) return;
    if (packet.cmd === "publish") {
      // If a filter of a lower QoS equals the topic, Aedes lowers the message, even if another filter grants more.
      if (packet.brokerId === LOG_ID) packet.qos = cursor.flights.at(packet.brokerCounter)?.qos ?? packet.qos;
      return;
    }
    // A PUBREL that the store does not know of would free the message id at the client, and not in the session.
    assertNewest(cursor, connection);
    if (packet.brokerCounter !== undefined) {
      // A PUBREL of `outgoingStream`, which Aedes writes within this turn of the event loop.
      if (--connection.unsentReleases === 0) setImmediate(() => this.#start(client, cursor, connection));
      return;
    }
    const isReleased = this.#shares.receive(client, packet.messageId);
    if (isReleased !== undefined) {
      await isReleased;
      assertNewest(this.#sessions.get(client.id)?.cursor, connection);
      return;
    }
    const release = cursor.receive(connection, packet.messageId);
    if (release === undefined) return;
    await this.#sessions.store(client.id);
    assertNewest(this.#sessions.get(client.id)?.cursor, connection);
    release();
  }

  /** The client has acknowledged a message, or its delivery was suppressed. */
  async clear(client: Session, { messageId, brokerId, brokerCounter }: Cleared): Promise<unknown> {
    const shared = messageId === undefined ? undefined : this.#shares.acknowledge(client, messageId);
    if (shared !== undefined) return shared.publication;
    if (client.clean === true)
      return messageId === undefined ? undefined : this.#options.takeReceipt(client, messageId);
    const cursor = this.#sessions.get(client.id)?.cursor;
    const connection = this.#connections.get(client);
    if (cursor === undefined || connection === undefined) return undefined;
    if (messageId !== undefined) return cursor.acknowledge(connection, messageId);
    if (brokerId === LOG_ID && brokerCounter !== undefined) cursor.refused(brokerCounter);
    return undefined;
  }

  /** The PUBRELs that the client has to get again. When they are written, the session's cursor begins to send. */
  stream(client: Session): Readable {
    return Readable.from(this.#releases(client), { highWaterMark: 1 });
  }

  async *#releases(client: Session): AsyncGenerator<object> {
    if (client.clean === true || !isLogClient(client)) return;
    const connection = new LogConnection(client, this.#options.mayReceive);
    const connected = this.connect(client.id, connection);
    if (connected === undefined) return;
    const { cursor } = connected;
    this.#connections.set(client, connection);
    client.conn.once("close", () => cursor.disconnect(connection));
    client.conn.on("drain", () => cursor.wake());
    if (client.closed === true) {
      cursor.disconnect(connection);
      return;
    }
    const identity = this.#sessions.get(client.id)?.owner.identity ?? "";
    const ofShares = await this.#shares.connect(client, identity, subscriptionsOf(cursor.filters));
    const released = [...connected.released, ...ofShares];
    connection.unsentReleases = released.length;
    if (released.length === 0) this.#start(client, cursor, connection);
    // Streams read ahead: the end of this function does not mean that all PUBRELs are written.
    for (const messageId of released) yield { ...PUBREL, messageId };
  }

  /** The client has its PUBRELs: publications follow, of its own subscriptions and of its groups. */
  #start(client: Session, cursor: SessionCursor, connection: LogConnection): void {
    cursor.start(connection);
    const identity = this.#sessions.get(client.id)?.owner.identity;
    if (identity !== undefined) this.#shares.start(client, identity, subscriptionsOf(cursor.filters));
  }
}

const PUBREL = {
  ...{ cmd: "pubrel", topic: "", payload: Buffer.alloc(0), qos: 1, retain: false, dup: false },
  ...{ brokerId: LOG_ID, brokerCounter: 1 },
};

/** @throws {Error} the session continues at another connection */
function assertNewest(
  cursor: SessionCursor | undefined,
  connection: SessionConnection,
): asserts cursor is SessionCursor {
  if (cursor?.isNewest(connection) !== true) throw new Error("the session continues at another connection");
}
