import type { IPublishPacket, Packet } from "mqtt-packet";
import { signToken } from "../support/dashboard.ts";
import { MqttWire } from "../support/mqtt-wire.ts";
import type { Publisher } from "./publisher.ts";

const RECONNECT_MS = 50;

export interface SessionClientOptions {
  port: number;
  name: string;
  filters: readonly string[];
  qos: 1 | 2;
  /** Default `admin`. */
  permissions?: readonly string[];
  /** Default: MQTT 3.1.1. */
  isFive?: boolean;
  /** Default: the name. */
  user?: string;
}

/** What went wrong with the deliveries to a session. All but `repeatedQos1` and `connections` are faults of the server. */
export interface DeliveryFaults {
  lost: number;
  /** First arrivals of a source that came after a later one. */
  outOfOrder: number;
  /** Publications of QoS 2 that arrived twice. */
  twiceQos2: number;
  /** Publications of QoS 1 that arrived again on another connection. */
  repeatedQos1: number;
  /** Publications of QoS 1 that arrived again on the same connection. */
  repeatedOnConnection: number;
  wrongQos: number;
  /** Deliveries to a client of MQTT 5 without the user property that the publisher set. */
  withoutProperty: number;
  /** Connections to which the server had no session. */
  sessionsLost: number;
  /** Accepted connections. */
  connections: number;
}

interface Repeats {
  qos1: number;
  qos2: number;
  onConnection: number;
}

/**
 * A subscriber with a persistent session, which reconnects until it is stopped. It keeps the client's part of the
 * session: the message ids of QoS 2 that the server has not released. Expects the messages of {@link Publisher}s.
 */
export class SessionClient {
  readonly name: string;
  /** Resolves when the server has confirmed the subscription. */
  readonly subscribed: Promise<void>;
  readonly #options: SessionClientOptions;
  readonly #arrived = new Map<string, Set<number>>();
  readonly #newest = new Map<string, number>();
  readonly #held = new Set<number>();
  /** What arrived twice at QoS 2, by source and number. */
  readonly twiceQos2 = new Set<string>();
  /** What arrived on this connection, by source and number. */
  readonly #onConnection = new Set<string>();
  /** By source. */
  readonly #repeats = new Map<string, Repeats>();
  readonly #faults = { outOfOrder: 0, wrongQos: 0, withoutProperty: 0, sessionsLost: 0, connections: 0 };
  #wire: MqttWire | undefined;
  #answers: Packet[] = [];
  #isAway = false;
  #isNew = true;
  #subscribed: (() => void) | undefined;

  constructor(options: SessionClientOptions) {
    this.#options = options;
    this.name = options.name;
    this.subscribed = new Promise((resolve) => {
      this.#subscribed = resolve;
    });
    this.#connect();
  }

  get isAway(): boolean {
    return this.#isAway;
  }

  /** Ends the connection until {@link come} is called. */
  leave(how: "cut" | "disconnect"): void {
    this.#isAway = true;
    this.#wire?.[how]();
  }

  come(): void {
    if (!this.#isAway) return;
    this.#isAway = false;
    this.#connect();
  }

  stop(): void {
    this.leave("cut");
  }

  /** The number of different messages of the source that have arrived. */
  count(source: string): number {
    return this.#arrived.get(source)?.size ?? 0;
  }

  has(source: string, n: number): boolean {
    return this.#arrived.get(source)?.has(n) === true;
  }

  /** Those of the numbers that have not arrived from the source. */
  missing(source: string, numbers: Iterable<number>): number[] {
    return [...numbers].filter((n) => this.#arrived.get(source)?.has(n) !== true);
  }

  /** Compares the deliveries with everything that the publishers were acknowledged. */
  faults(publishers: readonly Publisher[]): DeliveryFaults {
    const faults = { lost: 0, twiceQos2: 0, repeatedQos1: 0, repeatedOnConnection: 0, ...this.#faults };
    for (const { source, acknowledged, isRepeating } of publishers) {
      for (const n of acknowledged) if (this.#arrived.get(source)?.has(n) !== true) faults.lost++;
      const { qos1 = 0, qos2 = 0, onConnection = 0 } = this.#repeats.get(source) ?? {};
      faults.twiceQos2 += qos2;
      faults.repeatedQos1 += isRepeating ? qos1 + onConnection : qos1;
      faults.repeatedOnConnection += isRepeating ? 0 : onConnection;
    }
    return faults;
  }

  #connect(): void {
    const { port, name, user = name, permissions = ["admin"], isFive = false } = this.#options;
    const wire: MqttWire = new MqttWire({
      port,
      clientId: name,
      password: signToken(user, permissions),
      clean: false,
      isFive,
      onPacket: (packet) => {
        if (wire === this.#wire) this.#take(packet);
      },
      onClose: () =>
        setTimeout(() => {
          if (wire === this.#wire && !this.#isAway) this.#connect();
        }, RECONNECT_MS),
    });
    this.#wire = wire;
    this.#answers = [];
    this.#onConnection.clear();
  }

  #take(packet: Packet): void {
    if (packet.cmd === "connack") {
      // A server that cannot reach its store refuses the connection, and closes it.
      if ((packet.returnCode ?? packet.reasonCode) === 0) this.#begin(packet.sessionPresent);
    }
    if (packet.cmd === "suback") this.#subscribed?.();
    else if (packet.cmd === "publish") this.#receive(packet);
    else if (packet.cmd === "pubrel") {
      this.#held.delete(packet.messageId ?? 0);
      this.#answer({ cmd: "pubcomp", messageId: packet.messageId ?? 0 });
    }
  }

  #begin(sessionPresent: boolean): void {
    this.#faults.connections++;
    if (sessionPresent) return;
    if (!this.#isNew) this.#faults.sessionsLost++;
    this.#isNew = false;
    this.#held.clear();
    const { filters, qos } = this.#options;
    this.#wire?.send({ cmd: "subscribe", messageId: 1, subscriptions: filters.map((topic) => ({ topic, qos })) });
  }

  #receive(packet: IPublishPacket): void {
    const { qos, messageId = 0 } = packet;
    if (qos === 1) {
      this.#arrive(packet);
      this.#answer({ cmd: "puback", messageId });
    } else if (qos === 2) {
      // A repetition of what the client has and the server has not released.
      if (!this.#held.has(messageId)) this.#arrive(packet);
      this.#held.add(messageId);
      this.#answer({ cmd: "pubrec", messageId });
    } else this.#faults.wrongQos++;
  }

  #arrive({ topic, payload, qos, properties }: IPublishPacket): void {
    const source = topic.startsWith("outside/") ? topic.slice("outside/".length) : (topic.split("/")[3] ?? "");
    const { n, hasProperty = false } = dataIn(payload);
    const isComplete = !hasProperty || properties?.userProperties?.n === String(n);
    if (this.#options.isFive === true && !isComplete) this.#faults.withoutProperty++;
    let arrived = this.#arrived.get(source);
    if (arrived === undefined) {
      arrived = new Set();
      this.#arrived.set(source, arrived);
    }
    const id = `${source} ${n}`;
    if (arrived.has(n)) {
      const repeats = this.#repeats.get(source) ?? { qos1: 0, qos2: 0, onConnection: 0 };
      if (qos === 2) this.twiceQos2.add(id);
      repeats[qos === 2 ? "qos2" : this.#onConnection.has(id) ? "onConnection" : "qos1"]++;
      this.#repeats.set(source, repeats);
    } else {
      arrived.add(n);
      if (n < (this.#newest.get(source) ?? 0)) this.#faults.outOfOrder++;
      else this.#newest.set(source, n);
    }
    this.#onConnection.add(id);
  }

  /** Sends the answers to packets that arrived together in one write. */
  #answer(packet: Packet): void {
    this.#answers.push(packet);
    const wire = this.#wire;
    if (this.#answers.length > 1) return;
    setImmediate(() => {
      if (wire === this.#wire) wire?.send(...this.#answers.splice(0));
    });
  }
}

function dataIn(payload: string | Buffer): { n: number; hasProperty?: boolean } {
  const { data }: { data: { n: number; hasProperty?: boolean } } = JSON.parse(String(payload));
  return data;
}
