/** Devices that are remembered; beyond, the one that was refused the longest ago is forgotten. */
const MAX_DEVICES = 1_000;

export interface RefusedDevice {
  id: string;
  /** Since it was last let in, or the server started. */
  times: number;
  address: string;
  why: string;
  /** RFC 3339. */
  last_refused: string;
}

/** Registered devices that come and are refused: so one with a wrong secret is told from one that never came. */
export class RefusedDevices {
  readonly #refused = new Map<string, RefusedDevice>();

  note(id: string, address: string, why: string): void {
    const times = (this.#refused.get(id)?.times ?? 0) + 1;
    this.#refused.delete(id);
    this.#refused.set(id, { id, times, address, why, last_refused: new Date().toISOString() });
    const [longestAgo] = this.#refused.keys();
    if (this.#refused.size > MAX_DEVICES && longestAgo !== undefined) this.#refused.delete(longestAgo);
  }

  /** The device was let in. */
  forget(id: string): void {
    this.#refused.delete(id);
  }

  list(): RefusedDevice[] {
    return [...this.#refused.values()];
  }
}
