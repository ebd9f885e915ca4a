import type { Logger } from "pino";
import { NamedListeners } from "../../../platform/listeners.ts";
import type { Json, Signals } from "../cluster.ts";
import { checkSignal } from "../limits.ts";
import type { Notice } from "./bus.ts";

interface RedisSignalsOptions {
  nodeId: string;
  publish: (notice: Notice) => Promise<void>;
  logger: Logger;
}

/** A node delivers its own signals to itself directly, so these do not depend on Redis. */
export class RedisSignals implements Signals {
  readonly #nodeId: string;
  readonly #publish: (notice: Notice) => Promise<void>;
  readonly #listeners: NamedListeners<[message: Json, from: string]>;
  readonly #missedListeners: NamedListeners<[]>;
  /** Whether a signal was not published, so that the other nodes must be notified. */
  #hasUnsent = false;

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
      this.#hasUnsent = true;
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

  /** Notifies the other nodes that they missed signals. Called when Redis accepts writes. */
  reportUnsent(): void {
    if (!this.#hasUnsent) return;
    this.#hasUnsent = false;
    this.#publish({ kind: "missed", from: this.#nodeId }).catch(() => {
      this.#hasUnsent = true;
    });
  }

  stop(): void {
    this.#listeners.clear();
    this.#missedListeners.clear();
  }
}
