import { networkOf } from "../../platform/addresses.ts";
import type { AuditEntry } from "./audit-entry.ts";

/** The most refusals of one network that are recorded one by one in each window. */
export const MAX_SINGLE_REFUSALS = 20;
export const WINDOW_MS = 60_000;
/** Above this, the number of refusals of the oldest network is recorded early. */
export const MAX_NETWORKS = 10_000;

interface RefusalCount {
  address: string | undefined;
  times: number;
  until: number;
}

/**
 * Records refusals in the audit log. Anybody can cause refusals at no cost. So after {@link MAX_SINGLE_REFUSALS}
 * refusals of one network in a minute, one line reports the number of further refusals.
 */
export class Refusals {
  readonly #record: (entry: AuditEntry) => void;
  readonly #networks = new Map<string, RefusalCount>();
  readonly #timer: NodeJS.Timeout;

  constructor(record: (entry: AuditEntry) => void) {
    this.#record = record;
    this.#timer = setInterval(() => this.#recordSums(({ until }) => until <= performance.now()), WINDOW_MS / 6).unref();
  }

  add(entry: AuditEntry): void {
    const network = networkOf(entry.address ?? "");
    let count = this.#networks.get(network);
    if (count !== undefined && count.until <= performance.now()) {
      this.#recordSum(network, count);
      count = undefined;
    }
    if (count === undefined) {
      const [oldest] = this.#networks;
      if (this.#networks.size >= MAX_NETWORKS && oldest !== undefined) this.#recordSum(...oldest);
      count = { address: entry.address, times: 0, until: performance.now() + WINDOW_MS };
      this.#networks.set(network, count);
    }
    count.times++;
    if (count.times <= MAX_SINGLE_REFUSALS) this.#record(entry);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#recordSums(() => true);
  }

  #recordSums(matches: (count: RefusalCount) => boolean): void {
    for (const [network, count] of [...this.#networks]) if (matches(count)) this.#recordSum(network, count);
  }

  #recordSum(network: string, { address, times }: RefusalCount): void {
    this.#networks.delete(network);
    if (times <= MAX_SINGLE_REFUSALS) return;
    const outcome = `${times - MAX_SINGLE_REFUSALS} more refused`;
    this.#record({ action: "access", who: "unknown", address, target: "", outcome });
  }
}
