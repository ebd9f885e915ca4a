import { hasExpired, type LoggedPublication } from "../../platform/publication-log.ts";
import type { DeliveredPacket } from "./propertied-packet.ts";
import { TopicIndex } from "./topic-index.ts";

/** The broker id of live publications of the log. Their counter is their position. */
export const LIVE_LOG_ID = "live";

/** `brokerCounter` grows with each publication of a broker id: Aedes drops others as repetitions. */
type Listener = (message: DeliveredPacket, done: () => void) => void;

/**
 * The subscriptions, and the dispatch of publications to them. Replaces Aedes' `mqemitter`, which waits until the
 * subscriptions have written to their sockets, with at most 100 publications in progress: clients that did not read
 * blocked all 100, and all topics were blocked for 57 s. Here a publication is done when every subscription has been
 * called.
 */
export class TopicEmitter {
  /** Read by Aedes. */
  readonly concurrency = 0;
  readonly #listeners = new TopicIndex<Listener>();
  /** The subscribers with persistent sessions. They read the log themselves, so they get only messages of QoS 0 here. */
  readonly #ofSessions = new TopicIndex<Listener>();
  #closed = false;

  on(filter: string, listener: Listener, done?: () => void): this {
    this.#listeners.add(filter, listener);
    if (done !== undefined) setImmediate(done);
    return this;
  }

  /** As {@link on}, for messages of QoS 0 only. */
  onQosZero(filter: string, listener: Listener, done: () => void): void {
    this.#ofSessions.add(filter, listener);
    setImmediate(done);
  }

  /**
   * Calls back at once. Aedes forgets the subscription in the callback: later, it would forget the subscription of a
   * SUBSCRIBE that arrived in one write with the UNSUBSCRIBE.
   */
  removeListener(filter: string, listener: Listener, done: () => void = nothing): this {
    this.#listeners.remove(filter, listener);
    this.#ofSessions.remove(filter, listener);
    done();
    return this;
  }

  /** Dispatches a publication that is not in the log. */
  emit(message: DeliveredPacket, done: (error?: Error) => void = nothing): this {
    if (this.#closed) {
      done(new Error("the broker is stopping"));
      return this;
    }
    const listeners = this.#match(message.topic, 0);
    for (const listener of listeners) listener(message, nothing);
    // Aedes writes deliveries in `setImmediate`. Calling `done` after these writes keeps a publisher's packets in
    // order.
    if (listeners.length === 0) done();
    else setImmediate(done);
    return this;
  }

  /** Dispatches the next publication of the log. @param now milliseconds since 1970, by the clock of message expiry */
  dispatchLogged(publication: LoggedPublication, now: () => number): void {
    if (this.#closed || hasExpired(publication, now)) return;
    const { position, topic, payload, qos, retain } = publication;
    const listeners = this.#match(topic, qos);
    if (listeners.length === 0) return;
    const stored = isPropertied(publication) ? publication : undefined;
    const cmd = "publish" as const;
    const brokerCounter = position;
    const message = { cmd, topic, payload, qos, retain, dup: false, brokerId: LIVE_LOG_ID, brokerCounter, stored };
    for (const listener of listeners) listener(message, nothing);
  }

  #match(topic: string, qos: 0 | 1 | 2): Listener[] {
    const listeners = this.#listeners.match(topic);
    return qos === 0 ? listeners.concat(this.#ofSessions.match(topic)) : listeners;
  }

  close(done: () => void = nothing): this {
    this.#closed = true;
    setImmediate(done);
    return this;
  }
}

export function nothing(): void {}

function isPropertied({ publisher, expiresAt, properties }: LoggedPublication): boolean {
  return publisher !== undefined || expiresAt !== undefined || properties !== undefined;
}
