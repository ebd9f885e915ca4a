import { POSITION_IDS as LAST_ID } from "../aedes/message-ids.ts";
import { protocolError } from "./reason-codes.ts";

/** A message that was sent with QoS 1 or 2 and is not acknowledged. */
export interface Flight {
  readonly qos: 1 | 2;
  /** Kept for a receipt. */
  readonly message: { readonly topic: string; readonly payload: Buffer } | undefined;
  /** PUBREL has been sent. */
  isReleased: boolean;
}

/**
 * The messages that this connection has sent and that no session remembers: all messages of a client without a session,
 * and retained messages.
 */
export class Flights {
  readonly #open = new Map<number, Flight>();
  #lastId = 0;

  get size(): number {
    return this.#open.size;
  }

  has(messageId: number): boolean {
    return this.#open.has(messageId);
  }

  /** A free message id [MQTT-2.2.1-4]. There is one as long as fewer than {@link LAST_ID} are taken. */
  nextId(): number {
    do this.#lastId = this.#lastId >= LAST_ID ? 1 : this.#lastId + 1;
    while (this.#open.has(this.#lastId));
    return this.#lastId;
  }

  add(messageId: number, qos: 1 | 2, message: Flight["message"]): void {
    this.#open.set(messageId, { qos, message, isReleased: false });
  }

  /** @returns the flight, if PUBREC has a flight of QoS 2 @throws {ProtocolError} the flight has QoS 1 */
  received(messageId: number): Flight | undefined {
    const flight = this.#open.get(messageId);
    if (flight?.qos === 1) throw protocolError("PUBREC for a message of QoS 1");
    return flight;
  }

  /** @param qos 1: PUBACK has arrived; 2: PUBCOMP, or a PUBREC that ends the flight @throws {ProtocolError} */
  close(messageId: number, qos: 1 | 2): Flight | undefined {
    const flight = this.#open.get(messageId);
    if (flight !== undefined && flight.qos !== qos)
      throw protocolError(`a message of QoS ${flight.qos} is acknowledged like one of QoS ${qos}`);
    this.#open.delete(messageId);
    return flight;
  }
}
