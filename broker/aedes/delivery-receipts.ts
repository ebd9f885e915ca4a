import type { AedesPublishPacket } from "aedes";

/** Messages tracked per client. Beyond this, the oldest message is no longer tracked. */
const MAX_UNACKNOWLEDGED = 256;

/**
 * The tracked messages that a client with a clean session has not acknowledged yet. Aedes has no record of them, so its
 * `ack` event cannot name the acknowledged message.
 */
export class DeliveryReceipts {
  readonly #sent = new Map<number, AedesPublishPacket>();

  /** The packet is sent with this message id. */
  track(messageId: number, packet: AedesPublishPacket): void {
    this.#sent.delete(messageId);
    this.#sent.set(messageId, packet);
    if (this.#sent.size > MAX_UNACKNOWLEDGED) {
      const [oldest] = this.#sent.keys();
      if (oldest !== undefined) this.#sent.delete(oldest);
    }
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
