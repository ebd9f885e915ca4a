import type { AedesPublishPacket } from "aedes";

/** Messages tracked per client. Beyond this, the oldest message is no longer tracked. */
const MAX_UNACKNOWLEDGED = 256;
const MAX_MESSAGE_ID = 65_535;

/**
 * The tracked messages that a client with a clean session has not acknowledged yet. Aedes has no record of them, so its
 * `ack` event cannot name the acknowledged message. So this class assigns the message ids: Aedes keeps an id that a
 * packet already has.
 */
export class DeliveryReceipts {
  readonly #sent = new Map<number, AedesPublishPacket>();
  #lastId = 0;

  /** Returns the packet with a new message id. */
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

  /** Returns the message that was sent with this id, and stops tracking the message. */
  take(messageId: number): AedesPublishPacket | undefined {
    const packet = this.#sent.get(messageId);
    this.#sent.delete(messageId);
    return packet;
  }
}

/** The message of Aedes' `ack` event; undefined when Aedes does not know the message. */
export function acknowledgedMessage(packet: unknown): { topic: string; payload: Buffer } | undefined {
  if (typeof packet !== "object" || packet === null || !("topic" in packet) || !("payload" in packet)) return undefined;
  const { topic, payload } = packet;
  return typeof topic === "string" && topic !== "" && Buffer.isBuffer(payload) ? { topic, payload } : undefined;
}
