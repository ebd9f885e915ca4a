import { TopicIndex } from "./topic-index.ts";

/** What Aedes passes to its emitter. */
interface Message {
  topic: string;
  /** Grows with each publication. */
  brokerCounter: number;
}

type Listener = (message: Message, done: () => void) => void;

interface Waiting {
  message: Message;
  done: (error?: Error) => void;
}

/**
 * Dispatches each publication to the matching subscriptions. Replaces Aedes' `mqemitter` for two reasons.
 *
 * This class does not wait until the subscriptions have written to their sockets. mqemitter waits, with at most 100
 * publications in progress for the whole broker: clients that did not read blocked all 100, and all topics stood still
 * for 57 s. Here a publication is done when every subscription has been called. `access/authorize-forward.ts` bounds
 * how much is buffered for a slow client.
 *
 * This class also keeps publications in order. Each publication is stored before it is emitted, and storing takes
 * longer for a retained or queued publication than for others. Aedes treats a message that arrives after a later one as
 * a duplicate and does not deliver it.
 */
export class TopicEmitter {
  /** Read by Aedes. */
  readonly concurrency = 0;
  readonly #listeners = new TopicIndex<Listener>();
  /** Unfinished publications, oldest first. A publication has a value once it has been emitted. */
  readonly #unfinished = new Map<number, Waiting | undefined>();
  #lastDispatched = 0;
  #closed = false;

  /** The number of the newest publication that was dispatched. */
  get lastDispatched(): number {
    return this.#lastDispatched;
  }

  /** A publication begins. Later publications wait until this one is dispatched or has finished. */
  begin(counter: number): void {
    this.#unfinished.set(counter, undefined);
  }

  /** A publication has finished, possibly without having been emitted. */
  finish(counter: number): void {
    if (this.#unfinished.delete(counter)) this.#dispatchInOrder();
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

  emit(message: Message, done: (error?: Error) => void = nothing): this {
    if (this.#closed) {
      done(new Error("the broker is stopping"));
      return this;
    }
    this.#unfinished.set(message.brokerCounter, { message, done });
    this.#dispatchInOrder();
    return this;
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
      this.#lastDispatched = counter;
      this.#dispatch(waiting);
    }
  }

  #dispatch({ message, done }: Waiting): void {
    const listeners = this.#listeners.match(message.topic);
    for (const listener of listeners) listener(message, nothing);
    // Aedes writes deliveries in `setImmediate`. Finishing after them keeps a publisher's packets in order.
    if (listeners.length === 0) done();
    else setImmediate(done);
  }
}

function nothing(): void {}
