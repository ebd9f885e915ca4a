import type { LoggedPublication } from "../../platform/publication-log.ts";
import type { DeliveredPacket } from "../aedes/propertied-packet.ts";
import type { SessionConnection } from "../sessions/session-delivery.ts";
import type { BrokerStorage } from "../sessions/storage.ts";

type Connected = NonNullable<ReturnType<BrokerStorage["connect"]>>;

/** A connection of a persistent session. */
export class SessionAttachment {
  readonly #storage: Pick<BrokerStorage, "store">;
  readonly #key: string;
  readonly #connection: SessionConnection;
  /** Without effect when another node has taken the session. */
  readonly #cursor: Connected["cursor"];
  /** The message ids of the PUBRELs that the client must get before {@link start} is called. */
  readonly released: readonly number[];

  constructor(
    storage: Pick<BrokerStorage, "store">,
    key: string,
    { cursor, released, connection }: Connected & { connection: SessionConnection },
  ) {
    this.#storage = storage;
    this.#key = key;
    this.#connection = connection;
    this.#cursor = cursor;
    this.released = released;
  }

  get filters(): Connected["cursor"]["filters"] {
    return this.#cursor.filters;
  }

  /** The PUBRELs are sent: publications follow. */
  start(): void {
    this.#cursor.start(this.#connection);
  }

  /** The connection may have room again. */
  wake(): void {
    this.#cursor.wake();
  }

  /** The connection has ended. */
  end(): void {
    this.#cursor.disconnect(this.#connection);
  }

  /** Whether the session itself sends the publication of the log. */
  delivers({ topic, qos, brokerCounter: position, stored }: DeliveredPacket): boolean {
    return this.#cursor.qosOf({ topic, position, qos, publisher: stored?.publisher }) > 0;
  }

  /** Whether the message id is that of a publication that the client has not acknowledged. */
  has(messageId: number): boolean {
    return this.#cursor.flights.withId(messageId) !== undefined;
  }

  /** PUBACK or PUBCOMP has arrived. @returns the publication, if a receipt of its topic is wanted */
  acknowledge(messageId: number): LoggedPublication | undefined {
    return this.#cursor.acknowledge(this.#connection, messageId);
  }

  /**
   * PUBREC has arrived. Resolves when it is durable, so that PUBREL may be sent. @returns undefined: the message id is
   * unknown @throws {StoreUnavailableError} @throws {Error} the session continues at another connection
   */
  receive(messageId: number): Promise<void> | undefined {
    return this.#cursor.flights.withId(messageId)?.qos === 2 ? this.#receive(messageId) : undefined;
  }

  async #receive(messageId: number): Promise<void> {
    this.#assertNewest();
    const release = this.#cursor.receive(this.#connection, messageId);
    if (release === undefined) return;
    await this.#storage.store(this.#key);
    this.#assertNewest();
    release();
  }

  #assertNewest(): void {
    if (!this.#cursor.isNewest(this.#connection)) throw new Error("the session continues at another connection");
  }
}
