import type { LoggedPublication } from "../../platform/publication-log.ts";
import { TopicIndex } from "./topic-index.ts";

/** The broker id of live publications of the log. Their counter is their position. */
export const LIVE_LOG_ID = "live";

/** A publication as Aedes passes it to its emitter. */
interface Message {
  topic: string;
  /** Grows with each publication of a broker id: Aedes drops others as repetitions. */
  brokerCounter: number;
}

type Listener = (message: Message, done: () => void) => void;

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
  #closed = false;

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

  /** Dispatches a publication that is not in the log. */
  emit(message: Message, done: (error?: Error) => void = nothing): this {
    if (this.#closed) {
      done(new Error("the broker is stopping"));
      return this;
    }
    const listeners = this.#listeners.match(message.topic);
    for (const listener of listeners) listener(message, nothing);
    // Aedes writes deliveries in `setImmediate`. Calling `done` after these writes keeps a publisher's packets in
    // order.
    if (listeners.length === 0) done();
    else setImmediate(done);
    return this;
  }

  /** Dispatches the next publication of the log. */
  dispatchLogged({ position, topic, payload, qos, retain }: LoggedPublication): void {
    if (this.#closed) return;
    const listeners = this.#listeners.match(topic);
    if (listeners.length === 0) return;
    const place = { brokerId: LIVE_LOG_ID, brokerCounter: position };
    const message = { cmd: "publish", topic, payload, qos, retain, dup: false, ...place };
    for (const listener of listeners) listener(message, nothing);
  }

  close(done: () => void = nothing): this {
    this.#closed = true;
    setImmediate(done);
    return this;
  }
}

export function nothing(): void {}
