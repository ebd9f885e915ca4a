import type { KeptPacket } from "../aedes/packet-codec.ts";
import { nothing, SubscriptionIndex } from "../aedes/topic-emitter.ts";

export interface ClusterPublication extends Omit<KeptPacket, "cmd" | "payload" | "messageId"> {
  cmd: "publish";
  payload: Buffer | string;
}

type Done = (error?: Error) => void;

/** The emitter that dispatches publications in order: `topic-emitter.ts`. */
export interface BrokerEmitter {
  on(filter: string, listener: (message: { brokerCounter: number }, done: () => void) => void, done?: () => void): this;
  emit(message: { topic: string; brokerCounter: number }, done?: Done): this;
  close(done?: () => void): this;
}

/** The topic of all publications in the ordering emitter. */
const IN_ORDER = "in-order";

interface RedisEmitterOptions {
  order: BrokerEmitter;
  /** Appends to the log. All nodes, even this one, read the log and call {@link RedisEmitter.deliver}. */
  append(publication: ClusterPublication): Promise<void>;
  /** For QoS 0. */
  bus: { send(publication: ClusterPublication): void };
}

/**
 * Dispatches each publication to the subscriptions of all nodes.
 *
 * - QoS 1, QoS 2 and retained publications are appended to the log in Redis. Even this node's subscriptions get them
 *   from the log, so that every node dispatches the same messages in the same order.
 * - QoS 0 publications are sent directly to this node's subscriptions, and to other nodes through mqemitter-redis: in
 *   the log they would displace other publications. MQTT requires no order between messages of QoS 0 and QoS 1
 *   [MQTT-4.6.0-6].
 * - Aedes' own messages (`$SYS`) stay on this node. A take-over is announced in the log: if a message on a topic
 *   announced it, any client with write access could disconnect any other.
 *
 * This class matches the filters itself, because mqemitter-redis subscribes to one Redis pattern per filter: filters
 * with `constructor`, `__proto__` or `[x]` never match, and Redis would compare each publication with the filters of
 * all clients.
 */
export class RedisEmitter extends SubscriptionIndex<ClusterPublication> {
  readonly #options: RedisEmitterOptions;
  /** Publications that the ordering emitter has not dispatched yet, by `brokerCounter`. */
  readonly #ordered = new Map<number, { message: ClusterPublication; done: Done }>();

  constructor(options: RedisEmitterOptions) {
    super();
    this.#options = options;
    options.order.on(IN_ORDER, ({ brokerCounter }) => this.#dispatch(brokerCounter));
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

  /** Dispatches a publication to this node's subscriptions. */
  deliver(message: ClusterPublication): void {
    for (const listener of this.listeners.match(message.topic)) listener(message, nothing);
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
    // Aedes writes deliveries in `setImmediate`. Calling `done` after these writes keeps a publisher's packets in
    // order.
    setImmediate(done);
  }
}
