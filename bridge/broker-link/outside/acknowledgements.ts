import type { IPublishPacket, MqttClient } from "mqtt";

/** Publications that have arrived and are not durable. Above either bound, nothing more is read from the broker. */
const MAX_WAITING = 2_000;
const MAX_WAITING_BYTES = 16_777_216;
/** A group of at most this size is one write of the journal in LevelDB or Redis. */
const MAX_GROUP = 500;
const MAX_GROUP_BYTES = 262_144;
/** A PUBACK has this first byte, the number of bytes that follow, and the message id. MQTT 5 allows this short form. */
const PUBACK = 0x40;
const PACKET_BYTES = 4;

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

/** A publication, or something to do when all earlier publications are durable. */
type Arrival = IPublishPacket | (() => void);

/**
 * Acknowledges the publications of one connection, in the order of their arrival [MQTT-4.6.0-2].
 *
 * A group of publications is accepted at once, and the next group once that group is durable. Otherwise, when the store
 * refuses one write and takes the next one, later messages of a camera would be stored before earlier ones. What arrives
 * meanwhile is the next group, so a slow store makes groups larger, as in the journal.
 */
export class Acknowledgements {
  readonly #client: MqttClient;
  readonly #options: AcknowledgementsOptions;
  readonly #waiting: Arrival[] = [];
  #waitingBytes = 0;
  #isAccepting = false;
  #isEnded = false;
  /** Makes MQTT.js read on. */
  #readOn: (() => void) | undefined;
  #onIdle: (() => void) | undefined;
  acknowledged = 0;

  constructor(client: MqttClient, options: AcknowledgementsOptions) {
    this.#client = client;
    this.#options = options;
    client.handleMessage = (packet, callback) => {
      this.#receive(packet);
      const readOn = () => callback(NOT_YET);
      if (this.#waiting.length < MAX_WAITING && this.#waitingBytes < MAX_WAITING_BYTES) readOn();
      else this.#readOn = readOn;
    };
  }

  /** Calls back when all publications that arrived before are durable and acknowledged. */
  afterEarlier(act: () => void): void {
    this.#add(act);
  }

  /** Takes no further publication. Resolves when the group that is being accepted is acknowledged, or has failed. */
  async end(): Promise<void> {
    this.#isEnded = true;
    this.#waiting.splice(0);
    if (this.#isAccepting)
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
  }

  #receive(packet: IPublishPacket): void {
    this.#waitingBytes += packet.payload.length;
    this.#add(packet);
  }

  #add(arrival: Arrival): void {
    if (this.#isEnded) return;
    this.#waiting.push(arrival);
    if (this.#isAccepting) return;
    this.#isAccepting = true;
    void this.#acceptAll();
  }

  async #acceptAll(): Promise<void> {
    do {
      // What arrives in the same turn of the event loop joins the group.
      await new Promise((resolve) => setImmediate(resolve));
      await this.#acceptGroup(this.#takeGroup());
      this.#readMore();
    } while (this.#waiting.length > 0 && !this.#isEnded);
    this.#isAccepting = false;
    this.#onIdle?.();
  }

  #takeGroup(): Arrival[] {
    let bytes = 0;
    let count = 0;
    for (const arrival of this.#waiting) {
      if (typeof arrival !== "function") bytes += arrival.payload.length;
      if (count > 0 && (count >= MAX_GROUP || bytes > MAX_GROUP_BYTES)) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  async #acceptGroup(group: readonly Arrival[]): Promise<void> {
    const accepting = group.map((arrival) => (typeof arrival === "function" ? undefined : this.#accept(arrival)));
    const settled = await Promise.allSettled(accepting);
    const failed = settled.findIndex(({ status }) => status === "rejected");
    this.#acknowledge(failed < 0 ? group : group.slice(0, failed));
    const failure = settled[failed];
    if (failure?.status !== "rejected" || this.#isEnded) return;
    this.#isEnded = true;
    this.#waiting.splice(0);
    this.#options.onFailed(failure.reason);
  }

  async #accept(packet: IPublishPacket): Promise<void> {
    this.#waitingBytes -= packet.payload.length;
    const accepted = this.#options.accept(packet);
    // QoS 0 comes once, whatever happens.
    await (packet.qos === 0 ? accepted.catch(() => {}) : accepted);
  }

  #acknowledge(group: readonly Arrival[]): void {
    const packets = Buffer.alloc(group.length * PACKET_BYTES);
    let length = 0;
    for (const arrival of group) {
      if (typeof arrival === "function" || arrival.qos === 0) continue;
      packets[length] = PUBACK;
      packets[length + 1] = PACKET_BYTES - 2;
      packets.writeUInt16BE(arrival.messageId ?? 0, length + 2);
      length += PACKET_BYTES;
    }
    if (length > 0 && this.#client.connected) {
      this.#client.stream.write(packets.subarray(0, length));
      this.acknowledged += length / PACKET_BYTES;
    }
    for (const arrival of group) if (typeof arrival === "function") arrival();
  }

  #readMore(): void {
    const readOn = this.#readOn;
    if (readOn === undefined || this.#waiting.length > MAX_WAITING / 2) return;
    if (this.#waitingBytes > MAX_WAITING_BYTES / 2) return;
    this.#readOn = undefined;
    readOn();
  }
}
