import type { IPublishPacket, MqttClient } from "mqtt";

/** Publications that are being appended at the same time. Above either bound, nothing more is read from the broker. */
const MAX_PENDING = 2_000;
const MAX_PENDING_BYTES = 16_777_216;
/** A PUBACK has this first byte, the number of bytes that follow, and the message id. MQTT 5 allows this short form. */
const PUBACK = 0x40;
const PACKET_BYTES = 4;

interface Pending {
  /** Undefined: nothing is acknowledged, and `act` is called instead. */
  readonly messageId: number | undefined;
  isDurable: boolean;
  readonly act?: () => void;
}

/**
 * MQTT.js acknowledges a publication as soon as `handleMessage` calls back, and hands over the next one only then: an
 * append would cost one fsync for each publication. So `handleMessage` calls back at once with an error, on which MQTT.js
 * goes on without an acknowledgement, and this class writes the PUBACK once the publication is durable.
 */
const NOT_YET = new Error("acknowledged once it is durable");

interface AcknowledgementsOptions {
  /** Resolves when the publication may be acknowledged. Called in the order of arrival. */
  accept: (packet: IPublishPacket) => Promise<void>;
  /** Called once when a publication was not accepted. It stays unacknowledged, as do all later ones. */
  onFailed: (error: unknown) => void;
}

/** Acknowledges the publications of one connection, in the order of their arrival [MQTT-4.6.0-2]. */
export class Acknowledgements {
  readonly #client: MqttClient;
  readonly #options: AcknowledgementsOptions;
  readonly #pending: Pending[] = [];
  #pendingBytes = 0;
  #pendingCount = 0;
  #isEnded = false;
  /** Makes MQTT.js read on. */
  #readOn: (() => void) | undefined;
  #onIdle: (() => void) | undefined;
  #flush: NodeJS.Immediate | undefined;
  acknowledged = 0;

  constructor(client: MqttClient, options: AcknowledgementsOptions) {
    this.#client = client;
    this.#options = options;
    client.handleMessage = (packet, callback) => {
      this.#receive(packet);
      const readOn = () => callback(NOT_YET);
      if (this.#pendingCount < MAX_PENDING && this.#pendingBytes < MAX_PENDING_BYTES) readOn();
      else this.#readOn = readOn;
    };
  }

  /** Calls back when all publications that arrived before are durable. */
  afterEarlier(act: () => void): void {
    this.#pending.push({ messageId: undefined, isDurable: true, act });
    this.#flushSoon();
  }

  /** Takes no further publication. Resolves when those that arrived before are acknowledged. */
  async end(): Promise<void> {
    this.#isEnded = true;
    if (this.#pendingCount > 0)
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
  }

  #receive(packet: IPublishPacket): void {
    // Later publications are not taken after one that failed, so that none overtakes it.
    if (this.#isEnded) return;
    const { qos, messageId = 0, payload } = packet;
    const pending = { messageId, isDurable: false };
    if (qos > 0) this.#pending.push(pending);
    this.#pendingCount++;
    this.#pendingBytes += payload.length;
    this.#options
      .accept(packet)
      .then(
        () => {
          pending.isDurable = true;
        },
        (error: unknown) => {
          if (qos === 0) return;
          if (!this.#isEnded) this.#options.onFailed(error);
          this.#isEnded = true;
        },
      )
      .finally(() => this.#settled(payload.length));
  }

  #settled(bytes: number): void {
    this.#pendingCount--;
    this.#pendingBytes -= bytes;
    this.#flushSoon();
    if (this.#readOn === undefined || this.#pendingCount > MAX_PENDING / 2) return;
    if (this.#pendingBytes > MAX_PENDING_BYTES / 2) return;
    const readOn = this.#readOn;
    this.#readOn = undefined;
    readOn();
  }

  /** The publications of one write of the journal settle together: their PUBACKs are one write to the socket. */
  #flushSoon(): void {
    this.#flush ??= setImmediate(() => {
      this.#flush = undefined;
      this.#acknowledge();
      if (this.#pendingCount === 0) this.#onIdle?.();
    });
  }

  #acknowledge(): void {
    const first = this.#pending.findIndex(({ isDurable }) => !isDurable);
    const durable = this.#pending.splice(0, first < 0 ? this.#pending.length : first);
    const packets = Buffer.alloc(durable.length * PACKET_BYTES);
    let length = 0;
    for (const { messageId, act } of durable) {
      act?.();
      if (messageId === undefined) continue;
      packets[length] = PUBACK;
      packets[length + 1] = PACKET_BYTES - 2;
      packets.writeUInt16BE(messageId, length + 2);
      length += PACKET_BYTES;
    }
    if (length === 0 || !this.#client.connected) return;
    this.#client.stream.write(packets.subarray(0, length));
    this.acknowledged += length / PACKET_BYTES;
  }
}
