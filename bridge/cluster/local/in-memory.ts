import type { Logger } from "pino";
import { NamedListeners } from "../../../platform/listeners.ts";
import type { ConnectionRegister, Json, Leases, Signals } from "../cluster.ts";
import { checkSignal } from "../limits.ts";

/** As over a network, a message arrives after `send` has returned. */
export class LocalSignals implements Signals {
  readonly #nodeId: string;
  readonly #listeners: NamedListeners<[message: Json, from: string]>;

  constructor(nodeId: string, logger: Logger) {
    this.#nodeId = nodeId;
    this.#listeners = new NamedListeners(logger);
  }

  send(name: string, message: Json): void {
    checkSignal(message);
    setImmediate(() => this.#listeners.call(name, message, this.#nodeId));
  }

  on(name: string, onMessage: (message: Json, from: string) => void): () => void {
    return this.#listeners.add(name, onMessage);
  }

  stop(): void {
    this.#listeners.clear();
  }
}

/** Leases in a cluster of one end only with the node, so no write has to be refused. */
export class LocalLeases implements Leases {
  readonly #held = new Map<string, AbortController>();
  #fence = 0;
  #stopped = false;

  async acquire(name: string): ReturnType<Leases["acquire"]> {
    if (this.#stopped || this.#held.has(name)) return undefined;
    const holder = new AbortController();
    this.#held.set(name, holder);
    const end = () => {
      if (this.#held.get(name) === holder) this.#held.delete(name);
    };
    return {
      fence: { lease: name, number: ++this.#fence },
      lost: holder.signal,
      lose() {
        end();
        holder.abort();
      },
      release: async () => end(),
    };
  }

  stop(): void {
    this.#stopped = true;
    for (const holder of this.#held.values()) holder.abort();
    this.#held.clear();
  }
}

export class LocalRegister implements ConnectionRegister {
  readonly #users = new Map<string, Set<string>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  async enter(userId: string, connectionId: string, limit: number): Promise<(() => void) | undefined> {
    const connections = this.#users.get(userId) ?? new Set();
    if (limit > 0 && connections.size >= limit) return undefined;
    if (!connections.has(connectionId)) this.#size++;
    this.#users.set(userId, connections.add(connectionId));
    return () => {
      if (!connections.delete(connectionId)) return;
      this.#size--;
      if (connections.size === 0 && this.#users.get(userId) === connections) this.#users.delete(userId);
    };
  }

  async total(): Promise<number> {
    return this.#size;
  }
}
