import { TopicIndex } from "./topic-index.ts";

/** What Aedes hands through its emitter. */
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
 * Hands each publication to the subscriptions that match it, in place of Aedes' `mqemitter`, for two reasons.
 *
 * It does not wait until the subscriptions have written to their sockets. mqemitter does, with 100 publications under
 * way for the whole broker: clients that did not read held all of them, and every topic stood still for 57 s. Here a
 * publication is done when every subscription has been called; what a client may be behind by is bounded in `authorize.ts`.
 *
 * And it keeps the order of the publications. Each is stored before it comes here, and one that is retained or queued
 * takes longer than the next one that is not. Aedes takes a message that comes after a later one for a repetition, and
 * does not deliver it.
 */
export class TopicEmitter {
  /** Read by Aedes. */
  readonly concurrency = 0;
  readonly #listeners = new TopicIndex<Listener>();
  /** The publications that have begun, oldest first; with their message when they have come here. */
  readonly #begun = new Map<number, Waiting | undefined>();
  #handedOn = 0;
  #closed = false;

  /** The newest publication that was handed on. */
  get handedOn(): number {
    return this.#handedOn;
  }

  /** A publication has begun: no later one is handed on before it is, or is {@link end}ed. */
  begin(counter: number): void {
    this.#begun.set(counter, undefined);
  }

  /** The publication has ended, perhaps without having come here. */
  end(counter: number): void {
    if (this.#begun.delete(counter)) this.#handOn();
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
    this.#begun.set(message.brokerCounter, { message, done });
    this.#handOn();
    return this;
  }

  close(done: () => void = nothing): this {
    this.#closed = true;
    setImmediate(done);
    return this;
  }

  #handOn(): void {
    for (const [counter, waiting] of this.#begun) {
      if (waiting === undefined) return;
      this.#begun.delete(counter);
      this.#handedOn = counter;
      this.#dispatch(waiting);
    }
  }

  #dispatch({ message, done }: Waiting): void {
    const listeners = this.#listeners.match(message.topic);
    for (const listener of listeners) listener(message, nothing);
    // Aedes' deliveries write in `setImmediate`: after them, so that a publisher's next packets come after its last.
    if (listeners.length === 0) done();
    else setImmediate(done);
  }
}

function nothing(): void {}
