import type { LoggedPublication } from "../../platform/publication-log.ts";
import { TopicIndex } from "./topic-index.ts";

/** The broker id of live publications of the log. Their counter is their position. */
export const LIVE_LOG_ID = "live";

/** A publication as Aedes passes it to its emitter. */
interface Message {
  topic: string;
  /** Grows with each publication. */
  brokerCounter: number;
}

type Listener<Emitted> = (message: Emitted, done: () => void) => void;

interface Waiting {
  message: Message;
  done: (error?: Error) => void;
}

/** The methods by which Aedes adds and removes subscriptions. */
export class SubscriptionIndex<Emitted> {
  /** Read by Aedes. */
  readonly concurrency = 0;
  protected readonly listeners = new TopicIndex<Listener<Emitted>>();

  on(filter: string, listener: Listener<Emitted>, done?: () => void): this {
    this.listeners.add(filter, listener);
    if (done !== undefined) setImmediate(done);
    return this;
  }

  removeListener(filter: string, listener: Listener<Emitted>, done?: () => void): this {
    this.listeners.remove(filter, listener);
    if (done !== undefined) setImmediate(done);
    return this;
  }
}

/**
 * Dispatches each publication to the matching subscriptions. Replaces Aedes' `mqemitter` for two reasons.
 *
 * This class does not wait until the subscriptions have written to their sockets. mqemitter waits, with at most 100
 * publications in progress: clients that did not read blocked all 100, and all topics were blocked for 57 s. Here a
 * publication is done when every subscription has been called.
 *
 * This class also keeps publications in order. A publication is stored before it is emitted, and a later publication
 * that is stored faster could overtake it. Aedes would then drop the overtaken publication as a duplicate.
 */
export class TopicEmitter extends SubscriptionIndex<Message> {
  /** Unfinished publications, oldest first. A publication has a value once it has been emitted. */
  readonly #unfinished = new Map<number, Waiting | undefined>();
  #closed = false;
  /** The number of the newest dispatched publication. */
  lastDispatched = 0;

  /** A publication begins. Later publications wait until this one is dispatched or has finished. */
  begin(counter: number): void {
    this.#unfinished.set(counter, undefined);
  }

  /** A publication has finished, possibly without having been emitted. */
  finish(counter: number): void {
    if (this.#unfinished.delete(counter)) this.#dispatchInOrder();
  }

  emit(message: Message, done: (error?: Error) => void = nothing): this {
    if (this.#closed) {
      done(new Error("the broker is stopping"));
      return this;
    }
    this.#unfinished.set(message.brokerCounter, { message, done });
    this.#dispatchInOrder();
    return this;
  }

  /** Dispatches the next publication of the log. It is durable, and the broker has not published it itself. */
  dispatchLogged({ position, topic, payload, qos, retain }: LoggedPublication): void {
    if (this.#closed) return;
    const listeners = this.listeners.match(topic);
    if (listeners.length === 0) return;
    const place = { brokerId: LIVE_LOG_ID, brokerCounter: position };
    const message = { cmd: "publish", topic, payload, qos, retain, dup: false, ...place };
    for (const listener of listeners) listener(message, nothing);
  }

  /** Dispatches a publication of another node. */
  deliver(message: Message): void {
    if (this.#closed) return;
    for (const listener of this.listeners.match(message.topic)) listener(message, nothing);
  }

  close(done: () => void = nothing): this {
    this.#closed = true;
    setImmediate(done);
    return this;
  }

  #dispatchInOrder(): void {
    for (const [counter, waiting] of this.#unfinished) {
      if (waiting === undefined) return;
      this.#unfinished.delete(counter);
      this.lastDispatched = counter;
      this.#dispatch(waiting);
    }
  }

  #dispatch({ message, done }: Waiting): void {
    const listeners = this.listeners.match(message.topic);
    for (const listener of listeners) listener(message, nothing);
    // Aedes writes deliveries in `setImmediate`. Calling `done` after these writes keeps a publisher's packets in
    // order.
    if (listeners.length === 0) done();
    else setImmediate(done);
  }
}

export function nothing(): void {}
