import { TopicIndex } from "../aedes/topic-index.ts";

/** What Aedes hands through its emitter. */
export interface ClusterPublication {
  cmd: "publish";
  topic: string;
  payload: Buffer | string;
  qos: 0 | 1 | 2;
  retain: boolean;
  dup: boolean;
  brokerId: string;
  /** Grows with each publication. */
  brokerCounter: number;
}

type Done = (error?: Error) => void;
type Listener = (message: ClusterPublication, done: () => void) => void;

/** Hands on what is emitted in the order in which it was published: `topic-emitter.ts`. */
export interface BrokerEmitter {
  on(filter: string, listener: (message: { brokerCounter: number }, done: () => void) => void, done?: () => void): this;
  emit(message: { topic: string; brokerCounter: number }, done?: Done): this;
  close(done?: () => void): this;
}

/** What the emitter that orders is told of is not the messages' topics, but their order. */
const IN_ORDER = "in-order";

export interface RedisEmitterOptions {
  order: BrokerEmitter;
  /** Resolves when the publication is in the log, from where it comes to all nodes, this one too, by {@link RedisEmitter.deliver}. */
  append(publication: ClusterPublication): Promise<void>;
  /** For what may be lost. */
  bus: { send(publication: ClusterPublication): void };
}

/**
 * Hands each publication to the subscriptions of all nodes, in place of Aedes' emitter. Each way promises what its
 * messages are promised:
 *
 * - QoS 1, QoS 2 and whatever is retained goes through the log in Redis, and to this node's subscriptions too only from
 *   there: every node hands on the same messages in the same order, and none is missing.
 * - QoS 0 goes to this node's subscriptions at once and to the other nodes by mqemitter-redis. It would only push the
 *   others out of the log. Towards messages of QoS 1 it has no order; MQTT gives it none [MQTT-4.6.0-6].
 * - What Aedes says of itself (`$SYS`) stays here. That a client was taken over is told by the log, with whose it is:
 *   from a message on a topic anybody who may write there could cut off anybody.
 *
 * Filters are matched here. mqemitter-redis asks Redis for a pattern of each filter, so that one subscribed to
 * `constructor`, `__proto__` or `[x]` gets nothing, and each publication costs Redis a look at the filters of all clients.
 */
export class RedisEmitter {
  /** Read by Aedes. */
  readonly concurrency = 0;
  readonly #options: RedisEmitterOptions;
  readonly #listeners = new TopicIndex<Listener>();
  /** On their way through the emitter that orders them. */
  readonly #ordered = new Map<number, { message: ClusterPublication; done: Done }>();

  constructor(options: RedisEmitterOptions) {
    this.#options = options;
    options.order.on(IN_ORDER, ({ brokerCounter }) => this.#handOn(brokerCounter));
  }

  on(filter: string, listener: Listener, done?: () => void): this {
    this.#listeners.add(filter, listener);
    if (done !== undefined) setImmediate(done);
    return this;
  }

  removeListener(filter: string, listener: Listener, done?: () => void): this {
    this.#listeners.remove(filter, listener);
    if (done !== undefined) setImmediate(done);
    return this;
  }

  emit(message: ClusterPublication, done: Done = nothing): this {
    const { brokerCounter } = message;
    this.#ordered.set(brokerCounter, { message, done });
    this.#options.order.emit({ topic: IN_ORDER, brokerCounter }, (error) => {
      if (error === undefined) return;
      this.#ordered.delete(brokerCounter);
      done(error);
    });
    return this;
  }

  close(done?: () => void): this {
    this.#options.order.close(done);
    return this;
  }

  /** A publication from the log, or from another node by the bus. */
  deliver(message: ClusterPublication): void {
    for (const listener of this.#listeners.match(message.topic)) listener(message, nothing);
  }

  #handOn(brokerCounter: number): void {
    const ordered = this.#ordered.get(brokerCounter);
    if (ordered === undefined) return;
    this.#ordered.delete(brokerCounter);
    const { message, done } = ordered;
    const isOwn = message.topic.startsWith("$SYS/");
    if (!isOwn && (message.qos > 0 || message.retain)) {
      this.#options.append(message).then(() => done(), done);
      return;
    }
    if (!isOwn) this.#options.bus.send(message);
    this.deliver(message);
    // Aedes' deliveries write in `setImmediate`: after them, so that a publisher's next packets come after its last.
    setImmediate(done);
  }
}

function nothing(): void {}
