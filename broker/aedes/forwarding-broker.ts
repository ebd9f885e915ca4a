import { Aedes, type AedesOptions, type Client, type PublishPacket } from "aedes";
import { TopicEmitter } from "./topic-emitter.ts";

type PublishCallback = (error?: Error) => void;

interface Forward {
  done: boolean;
  waiting: PublishCallback | undefined;
}

/** What became of a packet's forwarding is kept with the packet: a WeakMap of them cost a tenth of a message's time. */
const FORWARD = Symbol("forward");

interface ForwardedPacket extends PublishPacket {
  [FORWARD]?: Forward;
}

/**
 * Aedes, where a publication can be forwarded before its acknowledgement is written. By itself Aedes acknowledges a
 * QoS 1 publication first and then forwards it, and forwards nothing when the acknowledgement cannot be written any
 * more: a client that died in between would send again what the journal knows already, and nobody would get it.
 * So ingest forwards with {@link forward}, and Aedes' own `publish` of the same packet only waits for that.
 */
export class ForwardingBroker extends Aedes {
  readonly #emitter: TopicEmitter;
  #published = 0;
  #underWay = 0;

  constructor(options: Omit<AedesOptions, "mq">) {
    const emitter = new TopicEmitter();
    super({ ...options, mq: emitter });
    this.#emitter = emitter;
  }

  /** Publications that are being stored and handed to subscribers. */
  get underWay(): number {
    return this.#underWay;
  }

  /** The number of the newest publication that was handed to subscriptions. */
  get handedOn(): number {
    return this.#emitter.handedOn;
  }

  /** Says that the packet must not be forwarded: it is a repetition. To be called before Aedes goes on with it. */
  skip(packet: ForwardedPacket): void {
    packet[FORWARD] = { done: true, waiting: undefined };
  }

  /**
   * Hands the packet to subscribers and their queues, and keeps Aedes from doing it again.
   * @returns a function that begins it, to be called when Aedes has been told to go on
   */
  forward(packet: ForwardedPacket, done: (error: Error | undefined) => void): () => void {
    const forward: Forward = { done: false, waiting: undefined };
    packet[FORWARD] = forward;
    return () => {
      this.#publish(packet, (error) => {
        forward.done = true;
        done(error ?? undefined);
        // The publication is durable, so its sender has done its part whatever became of the forwarding.
        forward.waiting?.();
      });
    };
  }

  /** Called by Aedes for what clients sent, and for its own messages. */
  override publish(packet: ForwardedPacket, client: Client | null | PublishCallback, callback?: PublishCallback): void {
    const done = typeof client === "function" ? client : (callback ?? nothing);
    const forward = packet[FORWARD];
    if (forward === undefined) this.#publish(packet, done);
    else if (forward.done) done();
    else forward.waiting = done;
  }

  /** With the number by which it keeps its place; Aedes gives its own only where there is none. */
  #publish(packet: PublishPacket, done: PublishCallback): void {
    const brokerCounter = ++this.#published;
    const { cmd, topic, payload, qos, retain, dup } = packet;
    // Written out: to spread the parser's object took 2 µs a message.
    const numbered = { cmd, topic, payload, qos, retain, dup, brokerId: this.id, brokerCounter };
    this.#underWay++;
    this.#emitter.begin(brokerCounter);
    super.publish(numbered, (error) => {
      this.#underWay--;
      this.#emitter.end(brokerCounter);
      done(error ?? undefined);
    });
  }
}

function nothing(): void {}
