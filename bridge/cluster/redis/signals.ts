import type { Logger } from "pino";
import { NamedListeners } from "../../../platform/listeners.ts";
import type { Json, Signals } from "../cluster.ts";
import { checkSignal } from "../limits.ts";
import type { Notice } from "./bus.ts";

export interface RedisSignalsOptions {
  nodeId: string;
  publish: (notice: Notice) => Promise<void>;
  logger: Logger;
}

/** Signals over the bus. A node hears its own at once and from itself, so that they reach it without Redis too. */
export class RedisSignals implements Signals {
  readonly #nodeId: string;
  readonly #publish: (notice: Notice) => Promise<void>;
  readonly #listeners: NamedListeners<[message: Json, from: string]>;
  readonly #missedListeners: NamedListeners<[]>;
  /** Something could not be said: the others are to be told so. */
  #owed = false;

  constructor({ nodeId, publish, logger }: RedisSignalsOptions) {
    this.#nodeId = nodeId;
    this.#publish = publish;
    this.#listeners = new NamedListeners(logger);
    this.#missedListeners = new NamedListeners(logger);
  }

  send(name: string, message: Json): void {
    checkSignal(message);
    setImmediate(() => this.#listeners.call(name, message, this.#nodeId));
    this.#publish({ kind: "signal", from: this.#nodeId, name, message }).catch(() => {
      this.#owed = true;
    });
  }

  on(name: string, onMessage: (message: Json, from: string) => void, onMissed: () => void = () => {}): () => void {
    const ends = [this.#listeners.add(name, onMessage), this.#missedListeners.add(name, onMissed)];
    return () => {
      for (const end of ends) end();
    };
  }

  receive({ from, name, message }: Extract<Notice, { kind: "signal" }>): void {
    if (from !== this.#nodeId) this.#listeners.call(name, message, from);
  }

  missed(): void {
    this.#missedListeners.callAll();
  }

  /** Redis takes writes: what is owed is said now. */
  settle(): void {
    if (!this.#owed) return;
    this.#owed = false;
    this.#publish({ kind: "missed", from: this.#nodeId }).catch(() => {
      this.#owed = true;
    });
  }

  stop(): void {
    this.#listeners.clear();
    this.#missedListeners.clear();
  }
}
