import { isChannelName } from "../../../../contract/topics.ts";
import { StoreUnavailableError } from "../../../../platform/errors.ts";
import type { Recovery } from "../../journal.ts";

/** A floor that retention moved, as `TRIM` says it; `forgotten` when the channel keeps nothing and was forgotten. */
export type MovedFloor = [channel: string, floor: number, forgotten: 0 | 1];

/**
 * The channels of the journal and the highest position that retention dropped from each, in memory. It may be a moment
 * behind Redis: what a page lacks for that reason, the page says.
 */
export class Channels {
  readonly #floors = new Map<string, number>();
  readonly #maxChannels: number;
  /** The highest floor of channels that were forgotten. */
  #forgottenFloor: number;

  constructor(forgottenFloor: number, maxChannels: number) {
    this.#forgottenFloor = forgottenFloor;
    this.#maxChannels = maxChannels;
  }

  has(name: string): boolean {
    return this.#floors.has(name);
  }

  names(): Iterable<string> {
    return this.#floors.keys();
  }

  get free(): number {
    return Math.max(0, this.#maxChannels - this.#floors.size);
  }

  /** The channel has an entry. */
  add(name: string): void {
    // What an earlier channel of the name dropped is not known any more: only what is above this is certain.
    if (!this.#floors.has(name)) this.#floors.set(name, this.#forgottenFloor);
  }

  floorOf(name: string): number {
    return this.#floors.get(name) ?? this.#forgottenFloor;
  }

  /** Floors only rise: an old word on one changes nothing. */
  raise(name: string, floor: number): void {
    if (floor > this.floorOf(name)) this.#floors.set(name, floor);
  }

  moved(floors: readonly MovedFloor[]): void {
    for (const [name, floor, forgotten] of floors) {
      if (forgotten === 0) this.raise(name, floor);
      else {
        this.#floors.delete(name);
        this.#forgottenFloor = Math.max(this.#forgottenFloor, floor);
      }
    }
  }

  /**
   * @throws {RangeError} not a channel name
   * @throws {StoreUnavailableError} one channel too many
   */
  check(name: string): void {
    if (this.#floors.has(name)) return;
    if (!isChannelName(name))
      throw new RangeError(`"${name}" is not a channel name: 1 to 63 of a-z, 0-9 and '-', as in camera:north`);
    if (this.#floors.size >= this.#maxChannels)
      throw new StoreUnavailableError(
        `the journal has ${this.#maxChannels} channels already and takes no new one, not even ${name}`,
      );
  }

  recovery(channel: string, since: { epoch: string; position: number }, epoch: string, head: number): Recovery {
    const floor = this.floorOf(channel);
    if (since.epoch !== epoch)
      return { complete: false, reason: "epoch_changed", gap: { after: 0, before: floor + 1 } };
    if (since.position > head) return { complete: false, reason: "ahead", gap: { after: head, before: head + 1 } };
    if (since.position < floor)
      return { complete: false, reason: "trimmed", gap: { after: since.position, before: floor + 1 } };
    return { complete: true };
  }
}
