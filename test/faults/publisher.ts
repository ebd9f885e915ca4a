import type { Packet } from "mqtt-packet";
import { signToken } from "../support/dashboard.ts";
import { MqttWire } from "../support/mqtt-wire.ts";

const IN_FLIGHT = 20;
const RECONNECT_MS = 50;
/** As devices do that count to a small number: each id is used again soon. */
const IDS = 500;

export interface PublisherOptions {
  /** Default 1. */
  qos?: 1 | 2;
  /** Whether the topics are outside the root. Default false: events of a camera. */
  isOutside?: boolean;
  /** Publishes over MQTT 5, with the number also as a user property. Default: MQTT 3.1.1. */
  isFive?: boolean;
}

/**
 * Publishes numbered messages, each until it is acknowledged, over as many connections as needed. Resends messages in
 * order, and keeps the message ids of QoS 2 over connections.
 */
export class Publisher {
  readonly source: string;
  readonly qos: 1 | 2;
  /** Whether the server takes a message that is sent again for a new one: QoS 1 without an event's id. */
  readonly isRepeating: boolean;
  /** The numbers of all messages that the server has accepted. */
  readonly acknowledged = new Set<number>();
  readonly done: Promise<void>;
  readonly #port: number;
  readonly #total: number;
  readonly #topic: string;
  readonly #isOutside: boolean;
  readonly #isFive: boolean;
  /** In order: the messages that are not completed, and whether PUBREC has arrived. */
  readonly #waiting = new Map<number, "sent" | "released">();
  #next = 0;
  #wire: MqttWire | undefined;
  #done: (() => void) | undefined;
  #stopped = false;

  /** @param url of the MQTT server */
  constructor(
    url: string,
    source: string,
    total: number,
    { qos = 1, isOutside = false, isFive = false }: PublisherOptions = {},
  ) {
    this.source = source;
    this.qos = qos;
    this.isRepeating = isOutside && qos === 1;
    this.#port = Number(new URL(url).port);
    this.#total = Math.floor(total);
    this.#isOutside = isOutside;
    this.#isFive = isFive;
    this.#topic = isOutside ? `outside/${source}` : `skylapse/v1/cameras/${source}/events/capture.completed`;
    this.done = new Promise((resolve) => {
      this.#done = resolve;
    });
    this.#connect();
  }

  stop(): void {
    this.#stopped = true;
    this.#wire?.cut();
  }

  #connect(): void {
    if (this.#stopped) return;
    this.#wire = new MqttWire({
      port: this.#port,
      clientId: `publisher-${this.source}`,
      password: signToken(this.source, [this.#isOutside ? "admin" : `device:${this.source}`]),
      // The ids of QoS 2 belong to the session.
      clean: this.qos === 1,
      isFive: this.#isFive,
      onPacket: (packet) => this.#take(packet),
      onClose: () => setTimeout(() => this.#connect(), RECONNECT_MS),
    });
  }

  #take(packet: Packet): void {
    // A server that cannot reach its store refuses the connection, and closes it.
    if (packet.cmd === "connack" && (packet.returnCode ?? packet.reasonCode) !== 0) return;
    if (packet.cmd === "connack") {
      const again = [...this.#waiting].map(([n, state]) => (state === "sent" ? this.#publish(n, true) : release(n)));
      this.#wire?.send(...again, ...this.#new());
      return;
    }
    const n = this.#numberOf(packet.messageId);
    if (n === undefined) return;
    if (packet.cmd === "puback" || packet.cmd === "pubrec") this.acknowledged.add(n);
    if (packet.cmd === "pubrec") {
      this.#waiting.set(n, "released");
      this.#wire?.send(release(n));
    }
    if (packet.cmd !== "puback" && packet.cmd !== "pubcomp") return;
    this.#waiting.delete(n);
    if (this.#waiting.size === 0 && this.#next === this.#total) this.#done?.();
    else this.#wire?.send(...this.#new());
  }

  #numberOf(messageId: number | undefined): number | undefined {
    for (const n of this.#waiting.keys()) if (idOf(n) === messageId) return n;
    return undefined;
  }

  #new(): Packet[] {
    const packets: Packet[] = [];
    while (this.#next < this.#total && this.#waiting.size < IN_FLIGHT) {
      this.#waiting.set(++this.#next, "sent");
      packets.push(this.#publish(this.#next, false));
    }
    return packets;
  }

  #publish(n: number, dup: boolean): Packet {
    const event = "capture.completed";
    const timestamp = new Date().toISOString();
    const session = this.source;
    const data = this.#isFive ? { n, hasProperty: true } : { n };
    const envelope = { v: 1, id: `${session}-${n}`, timestamp, session, seq: n, event, data };
    const payload = JSON.stringify(envelope);
    const fixed = { cmd: "publish", topic: this.#topic, qos: this.qos, retain: false } as const;
    const properties = this.#isFive ? { properties: { userProperties: { n: String(n) } } } : {};
    return { ...fixed, payload, messageId: idOf(n), dup, ...properties };
  }
}

function idOf(n: number): number {
  return 1 + (n % IDS);
}

function release(n: number): Packet {
  return { cmd: "pubrel", messageId: idOf(n) };
}
