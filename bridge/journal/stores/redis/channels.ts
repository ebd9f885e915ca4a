import { isChannelName } from "../../../../contract/topics.ts";
import { StoreUnavailableError } from "../../../../platform/errors.ts";
import type { Recovery } from "../../journal.ts";

/** A floor that retention raised, as `TRIM` returns it. `removed` is 1 when the channel is empty and was removed. */
export type MovedFloor = [channel: string, floor: number, removed: 0 | 1];

/**
 * The channels of the journal in memory, each with its floor: the highest position that retention removed from it. The
 * floors may be a moment behind Redis. A page that lacks entries for that reason reports a gap.
 */
export class Channels {
  readonly #floors = new Map<string, number>();
  readonly #maxChannels: number;
  /** The highest floor of all removed channels. */
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

  /** Adds a channel that has an entry. */
  add(name: string): void {
    // A removed channel of this name may have had entries up to this position.
    if (!this.#floors.has(name)) this.#floors.set(name, this.#forgottenFloor);
  }

  floorOf(name: string): number {
    return this.#floors.get(name) ?? this.#forgottenFloor;
  }

  /** Raises the floor of a channel. An outdated, lower floor changes nothing. */
  raise(name: string, floor: number): void {
    if (floor > this.floorOf(name)) this.#floors.set(name, floor);
  }

  moved(floors: readonly MovedFloor[]): void {
    for (const [name, floor, removed] of floors) {
      if (removed === 0) this.raise(name, floor);
      else {
        this.#floors.delete(name);
        this.#forgottenFloor = Math.max(this.#forgottenFloor, floor);
      }
    }
  }

  /**
   * @throws {RangeError} an invalid channel name
   * @throws {StoreUnavailableError} the table is full
   */
  check(name: string): void {
    if (this.#floors.has(name)) return;
    if (!isChannelName(name))
      throw new RangeError(`"${name}" is not a channel name: 1 to 63 of a-z, 0-9 and '-', as in camera:north`);
    if (this.#floors.size >= this.#maxChannels)
      throw new StoreUnavailableError(`the journal already has ${this.#maxChannels} channels and cannot add ${name}`);
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
