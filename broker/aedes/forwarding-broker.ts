import { Aedes, type AedesOptions, type Client } from "aedes";
import { isShared } from "../../contract/shares.ts";
import type { LoggedPublication, PublicationLog } from "../../platform/publication-log.ts";
import type { DeliveredPacket, PropertiedPacket } from "./propertied-packet.ts";
import { nothing, TopicEmitter } from "./topic-emitter.ts";

type PublishCallback = (error?: Error) => void;

/** Marks a packet that Aedes must not forward. (A WeakMap took a tenth of a message's processing time.) */
const SKIPPED = Symbol("skipped");

interface SkippablePacket extends PropertiedPacket {
  [SKIPPED]?: boolean;
}

/** A publication with its place among those of this run of the broker. */
interface NumberedPacket extends PropertiedPacket {
  brokerId: string;
  brokerCounter: number;
}

/** @param id names the publication at all nodes: by its broker, and its number there */
type SendUnlogged = (publication: LoggedPublication, id: { by: string; number: number }) => void;

interface SessionSubscription {
  readonly qos: 0 | 1 | 2;
  /** Resolves when the filter is durable. */
  readonly isDurable: Promise<void>;
}

/**
 * Aedes, changed so that subscribers follow the log of publications. Plain Aedes acknowledges a publication, and then
 * forwards it; it does not forward when it cannot write the acknowledgement. If the client died at that moment, it would
 * resend the publication. The broker would discard the resent publication, because the journal already contains it, and
 * no subscriber would ever get it. So Aedes forwards only what is not in the log: messages of QoS 0.
 */
export class ForwardingBroker extends Aedes {
  readonly #emitter: TopicEmitter;
  #unfollow = nothing;
  #bus: { send(publication: NumberedPacket): void } | undefined;
  #sendUnlogged: SendUnlogged | undefined;
  #published = 0;
  #subscribing: SessionSubscription | undefined;

  constructor(options: Omit<AedesOptions, "mq">) {
    const emitter = new TopicEmitter();
    super({ ...options, mq: emitter });
    this.#emitter = emitter;
  }

  /**
   * From now on, subscribers get the publications of the log, in the order of the log.
   * @param now milliseconds since 1970, by the clock of message expiry
   */
  follow(log: Pick<PublicationLog, "follow">, now: () => number): void {
    this.#unfollow = log.follow((publications) => {
      for (const publication of publications) this.#emitter.dispatchLogged(publication, now);
    });
  }

  /** From now on, publications of QoS 0 go to the other nodes too. */
  shareQosZero(bus: { send(publication: NumberedPacket): void }): void {
    this.#bus = bus;
  }

  /** From now on, each publication of QoS 0 that is not in the log goes to the groups of shared subscriptions too. */
  shareUnlogged(send: SendUnlogged): void {
    this.#sendUnlogged = send;
  }

  /** Dispatches a publication of QoS 0 of another node. */
  deliver(publication: Omit<DeliveredPacket, "messageId">): void {
    if (!publication.topic.startsWith("$")) this.#shareUnlogged(publication);
    this.#emitter.emit(publication);
  }

  #shareUnlogged({
    topic,
    payload,
    brokerId,
    brokerCounter,
    stored,
  }: Omit<NumberedPacket, "cmd" | "qos" | "dup" | "retain">): void {
    const publication = { ...stored, position: 0, topic, payload: bytesOf(payload), qos: 0 as const, retain: false };
    this.#sendUnlogged?.(publication, { by: brokerId, number: brokerCounter });
  }

  /** Keeps Aedes from forwarding the packet: it is in the log, or a duplicate. Call it before Aedes' callback. */
  skip(packet: SkippablePacket): void {
    packet[SKIPPED] = true;
  }

  override publish(packet: SkippablePacket, client: Client | null | PublishCallback, callback?: PublishCallback): void {
    const done = typeof client === "function" ? client : (callback ?? nothing);
    if (packet[SKIPPED] === true) {
      done();
      return;
    }
    const { cmd, topic, payload, qos, retain, dup, stored } = packet;
    // Copied field by field: spreading the parser's object took 2 µs per message.
    const brokerCounter = ++this.#published;
    const numbered = { cmd, topic, payload, qos, retain, dup, brokerId: this.id, brokerCounter, stored };
    // Topics of Aedes itself stay at this node.
    if (qos === 0 && !topic.startsWith("$")) {
      this.#bus?.send(numbered);
      this.#shareUnlogged(numbered);
    }
    // Aedes would copy the packet without what is stored.
    if (stored !== undefined) this.#emitter.emit(numbered, done);
    else super.publish(numbered, done);
  }

  /**
   * Runs the task, in which Aedes subscribes the client of a persistent session. The subscription starts at once, so that
   * the client gets what it publishes in the same write as SUBSCRIBE. Aedes hears that the subscription exists, and sends
   * SUBACK, when the promise resolves.
   */
  subscribeSession(subscription: SessionSubscription, task: () => void): void {
    // Aedes does not subscribe a closed client.
    subscription.isDurable.catch(nothing);
    this.#subscribing = subscription;
    try {
      task();
    } finally {
      this.#subscribing = undefined;
    }
  }

  override subscribe(...[filter, listener, done]: Parameters<Aedes["subscribe"]>): void {
    // The groups of shared subscriptions send their messages themselves.
    if (isShared(filter)) {
      setImmediate(done);
      return;
    }
    if (this.#subscribing === undefined) {
      super.subscribe(filter, listener, done);
      return;
    }
    const { qos, isDurable } = this.#subscribing;
    const subscribed = () => void isDurable.then(() => done(), done);
    // The session itself sends what the filter gets with QoS 1 or 2.
    if (qos > 0) this.#emitter.onQosZero(filter, listener, subscribed);
    else super.subscribe(filter, listener, subscribed);
  }

  override close(done?: () => void): void {
    this.#unfollow();
    super.close(done);
  }
}

function bytesOf(payload: string | Buffer): Buffer {
  return typeof payload === "string" ? Buffer.from(payload) : payload;
}
