import { TopicIndex } from "../aedes/topic-index.ts";

/** What Aedes passes to its emitter. */
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

/** The emitter that dispatches publications in order: `topic-emitter.ts`. */
export interface BrokerEmitter {
  on(filter: string, listener: (message: { brokerCounter: number }, done: () => void) => void, done?: () => void): this;
  emit(message: { topic: string; brokerCounter: number }, done?: Done): this;
  close(done?: () => void): this;
}

/** The topic under which all publications pass through the ordering emitter, which is used only to order them. */
const IN_ORDER = "in-order";

interface RedisEmitterOptions {
  order: BrokerEmitter;
  /**
   * Appends to the log. All nodes, this one too, read the log and call {@link RedisEmitter.deliver}. Resolves when the
   * publication is appended.
   */
  append(publication: ClusterPublication): Promise<void>;
  /** For QoS 0. */
  bus: { send(publication: ClusterPublication): void };
}

/**
 * Dispatches each publication to the subscriptions of all nodes. Replaces Aedes' emitter.
 *
 * - QoS 1, QoS 2 and retained publications go through the log in Redis. This node's subscriptions also get them only
 *   from the log: every node dispatches the same messages in the same order, and none is missing.
 * - QoS 0 publications go directly to this node's subscriptions, and to the other nodes through mqemitter-redis. In the
 *   log they would only displace the other publications. They are not ordered relative to QoS 1, and MQTT requires no
 *   such order [MQTT-4.6.0-6].
 * - Aedes' own messages (`$SYS`) stay on this node. A take-over is announced in the log together with the client's
 *   identity: if a message on a topic announced it, any client with write access could disconnect any other.
 *
 * Filters are matched here. mqemitter-redis subscribes to a Redis pattern per filter: filters with `constructor`,
 * `__proto__` or `[x]` never match, and Redis would compare each publication with the filters of all clients.
 */
export class RedisEmitter {
  /** Read by Aedes. */
  readonly concurrency = 0;
  readonly #options: RedisEmitterOptions;
  readonly #listeners = new TopicIndex<Listener>();
  /** Publications inside the ordering emitter. */
  readonly #ordered = new Map<number, { message: ClusterPublication; done: Done }>();

  constructor(options: RedisEmitterOptions) {
    this.#options = options;
    options.order.on(IN_ORDER, ({ brokerCounter }) => this.#dispatch(brokerCounter));
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

  /** Dispatches a publication from the log or from another node to this node's subscriptions. */
  deliver(message: ClusterPublication): void {
    for (const listener of this.#listeners.match(message.topic)) listener(message, nothing);
  }

  #dispatch(brokerCounter: number): void {
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
    // Aedes writes deliveries in `setImmediate`. Finishing after them keeps a publisher's packets in order.
    setImmediate(done);
  }
}

function nothing(): void {}
