/** Beyond this, the device with the oldest refusal is removed. */
const MAX_DEVICES = 1_000;

export interface RefusedDevice {
  id: string;
  /** Refusals since the device last connected, or since the server started. */
  times: number;
  address: string;
  why: string;
  /** RFC 3339. */
  last_refused: string;
}

/** Registered devices that tried to connect and were refused, such as devices with a wrong secret. */
export class RefusedDevices {
  readonly #refused = new Map<string, RefusedDevice>();

  note(id: string, address: string, why: string): void {
    const times = (this.#refused.get(id)?.times ?? 0) + 1;
    this.#refused.delete(id);
    this.#refused.set(id, { id, times, address, why, last_refused: new Date().toISOString() });
    const [oldest] = this.#refused.keys();
    if (this.#refused.size > MAX_DEVICES && oldest !== undefined) this.#refused.delete(oldest);
  }

  forget(id: string): void {
    this.#refused.delete(id);
  }

  list(): RefusedDevice[] {
    return [...this.#refused.values()];
  }
}
