import { clockMicros } from "../process-cpu.ts";
import { readNumber, readSentMicros } from "./event.ts";

export interface Latencies {
  count: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
}

/** Deliveries were lost, repeated, out of order or late: the measurement is invalid. */
export class IncompleteDeliveryError extends Error {
  override name = "IncompleteDeliveryError";
}

/** Counts deliveries to many receivers. Requires that each receiver gets every event once and in order. */
export class Tally {
  total = 0;
  readonly receivers: number;
  readonly #name: string;
  readonly #next: number[];
  #failure: Error | undefined;
  #waiting: { total: number; resolve: () => void; reject: (error: Error) => void } | undefined;
  #latencies: number[] | undefined;

  /**
   * @param name what error messages call a receiver, such as `dashboard`
   * @param first the number of the first event that each receiver expects
   */
  constructor(name: string, count: number, first: number) {
    this.#name = name;
    this.receivers = count;
    this.#next = new Array<number>(count).fill(first);
  }

  /** Counts an event that reached a receiver. The event number is at `at`. */
  record(receiver: number, buffer: Buffer, at: number): void {
    const number = readNumber(buffer, at);
    const expected = this.#next[receiver];
    if (number !== expected) {
      this.fail(`${this.#name} ${receiver} was to get event ${expected} and got event ${number}`);
      return;
    }
    this.#next[receiver] = number + 1;
    this.#latencies?.push(clockMicros() - readSentMicros(buffer, at));
    this.total++;
    if (this.#waiting !== undefined && this.total >= this.#waiting.total) this.#waiting.resolve();
  }

  fail(problem: string): void {
    this.#failure ??= new IncompleteDeliveryError(problem);
    this.#waiting?.reject(this.#failure);
  }

  /** Resolves after the given number of deliveries. @throws {IncompleteDeliveryError} */
  async reached(total: number, timeoutMs = 60_000): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.total >= total) return;
    let timer: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#waiting = { total, resolve, reject };
        timer = setTimeout(() => this.fail(this.#missing(total, timeoutMs)), timeoutMs);
      });
    } finally {
      clearTimeout(timer);
      this.#waiting = undefined;
    }
  }

  #missing(total: number, timeoutMs: number): string {
    const next = Math.min(...this.#next);
    const who = this.#next.indexOf(next);
    return `${total - this.total} of ${total} deliveries are missing after ${timeoutMs / 1000} s; ${this.#name} ${who} still waits for event ${next}`;
  }

  startLatencies(): void {
    this.#latencies = [];
  }

  /** Latencies since {@link startLatencies}, from sending to arrival. */
  takeLatencies(): Latencies {
    const sorted = Float64Array.from(this.#latencies ?? []).sort();
    this.#latencies = undefined;
    const at = (share: number) => (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) / 1000;
    return { count: sorted.length, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
  }
}
