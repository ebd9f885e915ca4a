/** When this node worked on an event, by `performance.now()`. */
export interface EventTimes {
  /** The event arrived from the broker or by HTTP. */
  receivedAt: number;
  /** The journal had stored the event, so that the broker acknowledged it. */
  durableAt: number;
  /** MQTT subscribers were sent the event, or it was put into their queues. Undefined: not, or not yet. */
  forwardedAt: number | undefined;
}

/** A power of two: 1 MiB for all three times and the positions. */
const MAX_EVENTS = 32_768;

/** The times of the newest events that this node received. Both notes of an event together cost less than 0.1 µs. */
export class EventTimesLog {
  readonly #positions = new Float64Array(MAX_EVENTS);
  readonly #receivedAt = new Float64Array(MAX_EVENTS);
  readonly #durableAt = new Float64Array(MAX_EVENTS);
  readonly #forwardedAt = new Float64Array(MAX_EVENTS);

  noteDurable(position: number, receivedAt: number, durableAt: number): void {
    const slot = position % MAX_EVENTS;
    this.#positions[slot] = position;
    this.#receivedAt[slot] = receivedAt;
    this.#durableAt[slot] = durableAt;
    this.#forwardedAt[slot] = 0;
  }

  noteForwarded(position: number): void {
    const slot = position % MAX_EVENTS;
    if (this.#positions[slot] === position) this.#forwardedAt[slot] = performance.now();
  }

  /** @returns undefined when another node received the event, or the times are no longer known */
  of(position: number): EventTimes | undefined {
    const slot = position % MAX_EVENTS;
    if (this.#positions[slot] !== position) return undefined;
    const { [slot]: receivedAt = 0 } = this.#receivedAt;
    const { [slot]: durableAt = 0 } = this.#durableAt;
    return { receivedAt, durableAt, forwardedAt: this.#forwardedAt[slot] || undefined };
  }

  /** Call this when positions may be used again. */
  clear(): void {
    this.#positions.fill(0);
  }
}
