import type { AedesPublishPacket } from "aedes";

/** Messages to one client that it has not acknowledged, and of which we still want to hear. */
const MAX_UNACKNOWLEDGED = 256;
const MAX_MESSAGE_ID = 65_535;

/**
 * What was sent to a client with a clean session, by message id. Aedes keeps nothing of it, so its `ack` event could
 * not say what was acknowledged. The ids are given here, for Aedes takes one that a packet brings along.
 */
export class DeliveryReceipts {
  readonly #sent = new Map<number, AedesPublishPacket>();
  #lastId = 0;

  /** The packet with an id of its own, to be remembered until {@link take}. The oldest is forgotten beyond 256. */
  track(packet: AedesPublishPacket): AedesPublishPacket {
    this.#lastId = this.#lastId >= MAX_MESSAGE_ID ? 1 : this.#lastId + 1;
    this.#sent.delete(this.#lastId);
    this.#sent.set(this.#lastId, packet);
    if (this.#sent.size > MAX_UNACKNOWLEDGED) {
      const [oldest] = this.#sent.keys();
      if (oldest !== undefined) this.#sent.delete(oldest);
    }
    return { ...packet, messageId: this.#lastId };
  }

  take(messageId: number): AedesPublishPacket | undefined {
    const packet = this.#sent.get(messageId);
    this.#sent.delete(messageId);
    return packet;
  }
}
