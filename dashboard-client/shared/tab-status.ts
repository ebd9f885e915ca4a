import type { ConnectionState } from "../client/connection-state.ts";
import { Listeners } from "../client/listeners.ts";
import type { ProblemReporter } from "../client/problems.ts";
import type { LeaderStatus } from "./messages.ts";

/** The leader's connection, as one tab knows it. */
export class TabStatus {
  readonly #states: Listeners<ConnectionState>;
  readonly #latencies: Listeners<number>;
  #state: ConnectionState = { status: "disconnected", reason: "new", since: Date.now(), cause: undefined };
  #heardAt: number | undefined;
  #latencyMs: number | undefined;

  constructor(report: ProblemReporter) {
    this.#states = new Listeners(report);
    this.#latencies = new Listeners(report);
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get heardAt(): number | undefined {
    return this.#heardAt;
  }

  get latencyMs(): number | undefined {
    return this.#latencyMs;
  }

  get isClosed(): boolean {
    return this.#state.status === "disconnected" && this.#state.reason === "closed";
  }

  onState(listener: (state: ConnectionState) => void): () => void {
    return this.#states.add(listener);
  }

  onLatency(listener: (latencyMs: number) => void): () => void {
    return this.#latencies.add(listener);
  }

  set({ state, heardAt, latencyMs }: LeaderStatus): void {
    const before = this.#latencyMs;
    this.#heardAt = heardAt;
    this.#latencyMs = latencyMs;
    // An equal state stays the same object, because listeners compare its members.
    if (JSON.stringify(state) !== JSON.stringify(this.#state)) {
      this.#state = state;
      this.#states.call(state);
    }
    if (latencyMs !== undefined && latencyMs !== before) this.#latencies.call(latencyMs);
  }

  /** A message of the server has arrived. */
  heard(): void {
    this.#heardAt = Date.now();
  }

  close(): void {
    this.#state = { status: "disconnected", reason: "closed", since: Date.now(), cause: undefined };
    this.#states.call(this.#state);
    this.#states.clear();
    this.#latencies.clear();
  }
}
