import { Aedes, type AedesOptions, type Client, type PublishPacket } from "aedes";
import type { PublicationLog } from "../../platform/publication-log.ts";
import { nothing, TopicEmitter } from "./topic-emitter.ts";

type PublishCallback = (error?: Error) => void;

interface Forward {
  done: boolean;
  waiting: PublishCallback | undefined;
}

/**
 * The property of a packet that holds the state of its forwarding. (A WeakMap took a tenth of a message's processing
 * time.)
 */
const FORWARD = Symbol("forward");

/** A publication with its place among those of this run of the broker. */
interface NumberedPacket extends PublishPacket {
  brokerId: string;
  brokerCounter: number;
}

interface ForwardedPacket extends PublishPacket {
  [FORWARD]?: Forward;
}

/**
 * Aedes, changed so that it forwards a publication before it acknowledges the publication. Plain Aedes acknowledges
 * first, and does not forward when it cannot write the acknowledgement. If the client died at that moment, it would
 * resend the publication. The broker would discard the resent publication, because the journal already contains it, and
 * no subscriber would ever get it. So ingest calls {@link forward}, and Aedes' own `publish` only waits for the end of
 * that forwarding.
 */
export class ForwardingBroker extends Aedes {
  readonly #emitter: TopicEmitter;
  #unfollow = nothing;
  #bus: { send(publication: NumberedPacket): void } | undefined;
  #published = 0;
  /** Publications that are being stored and forwarded. */
  unfinished = 0;

  constructor(options: Omit<AedesOptions, "mq">) {
    const emitter = new TopicEmitter();
    super({ ...options, mq: emitter });
    this.#emitter = emitter;
  }

  /**
   * From now on, subscribers get the publications of the log, in the order of the log. Ingest then only stores and
   * acknowledges a publication, and {@link skip}s it.
   */
  follow(log: Pick<PublicationLog, "follow">): void {
    this.#unfollow = log.follow((publications) => {
      for (const publication of publications) this.#emitter.dispatchLogged(publication);
    });
  }

  override close(done?: () => void): void {
    this.#unfollow();
    super.close(done);
  }

  /** From now on, publications of QoS 0 go to the other nodes too. */
  shareQosZero(bus: { send(publication: NumberedPacket): void }): void {
    this.#bus = bus;
  }

  /** Dispatches a publication of another node to the subscribers. */
  deliver(publication: { topic: string; brokerCounter: number }): void {
    this.#emitter.deliver(publication);
  }

  get lastDispatched(): number {
    return this.#emitter.lastDispatched;
  }

  /** Keeps Aedes from forwarding the packet, for example a duplicate. Call it before Aedes' callback. */
  skip(packet: ForwardedPacket): void {
    packet[FORWARD] = { done: true, waiting: undefined };
  }

  /** Keeps Aedes from forwarding the packet. @returns a function that forwards it: call it after Aedes' callback */
  forward(packet: ForwardedPacket, done: (error: Error | undefined) => void): () => void {
    const forward: Forward = { done: false, waiting: undefined };
    packet[FORWARD] = forward;
    return () => {
      this.#publish(packet, (error) => {
        forward.done = true;
        done(error ?? undefined);
        // A durable publication is acknowledged even when forwarding failed.
        forward.waiting?.();
      });
    };
  }

  override publish(packet: ForwardedPacket, client: Client | null | PublishCallback, callback?: PublishCallback): void {
    const done = typeof client === "function" ? client : (callback ?? nothing);
    const forward = packet[FORWARD];
    if (forward === undefined) this.#publish(packet, done);
    else if (forward.done) done();
    else forward.waiting = done;
  }

  /** Assigns `brokerCounter`, which keeps publications in order. Aedes keeps a counter that is already set. */
  #publish(packet: PublishPacket, done: PublishCallback): void {
    const brokerCounter = ++this.#published;
    const { cmd, topic, payload, qos, retain, dup } = packet;
    // Copied field by field: spreading the parser's object took 2 µs per message.
    const numbered = { cmd, topic, payload, qos, retain, dup, brokerId: this.id, brokerCounter };
    // Topics of Aedes itself stay at this node.
    if (qos === 0 && !topic.startsWith("$")) this.#bus?.send({ ...numbered, qos });
    this.unfinished++;
    this.#emitter.begin(brokerCounter);
    super.publish(numbered, (error) => {
      this.unfinished--;
      this.#emitter.finish(brokerCounter);
      done(error ?? undefined);
    });
  }
}
