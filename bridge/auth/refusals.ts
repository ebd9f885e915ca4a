import { networkOf } from "../../platform/addresses.ts";
import type { AuditEntry } from "./audit-entry.ts";

/** Refusals of one network that are told of one by one, in each window. */
export const MAX_TOLD = 20;
export const WINDOW_MS = 60_000;
/** Networks that are counted; beyond, the longest known is told of at once. */
export const MAX_NETWORKS = 10_000;

interface Told {
  address: string | undefined;
  times: number;
  until: number;
}

/**
 * Refusals cost nothing to whoever causes them, so a flood of them must not become a flood of lines: past
 * {@link MAX_TOLD} in a minute those of one network are counted, and one line says how many they were.
 */
export class Refusals {
  readonly #record: (entry: AuditEntry) => void;
  readonly #now: () => number;
  readonly #networks = new Map<string, Told>();
  readonly #timer: NodeJS.Timeout;

  /** @param now milliseconds, of any clock that runs forward. Default: the process's */
  constructor(record: (entry: AuditEntry) => void, now = () => performance.now()) {
    this.#record = record;
    this.#now = now;
    this.#timer = setInterval(() => this.#tellThose(({ until }) => until <= this.#now()), WINDOW_MS / 6).unref();
  }

  add(entry: AuditEntry): void {
    const network = networkOf(entry.address ?? "");
    let told = this.#networks.get(network);
    if (told !== undefined && told.until <= this.#now()) {
      this.#tell(network, told);
      told = undefined;
    }
    if (told === undefined) {
      const [oldest] = this.#networks;
      if (this.#networks.size >= MAX_NETWORKS && oldest !== undefined) this.#tell(...oldest);
      told = { address: entry.address, times: 0, until: this.#now() + WINDOW_MS };
      this.#networks.set(network, told);
    }
    told.times++;
    if (told.times <= MAX_TOLD) this.#record(entry);
  }

  /** Tells what was only counted so far. */
  stop(): void {
    clearInterval(this.#timer);
    this.#tellThose(() => true);
  }

  #tellThose(matches: (told: Told) => boolean): void {
    for (const [network, told] of [...this.#networks]) if (matches(told)) this.#tell(network, told);
  }

  #tell(network: string, { address, times }: Told): void {
    this.#networks.delete(network);
    if (times <= MAX_TOLD) return;
    const outcome = `${times - MAX_TOLD} more refused`;
    this.#record({ action: "access", who: "unknown", address, target: "", outcome });
  }
}
