import type { Since } from "../../../../contract/socket-messages.ts";
import type { Recovery } from "../../journal.ts";
import { assertCanAddChannel, recoveryOf } from "../channels.ts";

/** A floor that retention raised, as `TRIM` returns it. `removed` is 1 when the channel is empty and was removed. */
export type MovedFloor = [channel: string, floor: number, removed: 0 | 1];

/**
 * The channels in memory, each with its floor: the highest position that retention removed from the channel. A floor
 * may be a moment behind Redis. A page that lacks entries for that reason reports a gap.
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

  add(name: string): void {
    // A removed channel of this name may have had entries up to this position.
    if (!this.#floors.has(name)) this.#floors.set(name, this.#forgottenFloor);
  }

  floorOf(name: string): number {
    return this.#floors.get(name) ?? this.#forgottenFloor;
  }

  /** An outdated, lower floor changes nothing. */
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

  /** @throws as {@link assertCanAddChannel} */
  check(name: string): void {
    if (!this.#floors.has(name)) assertCanAddChannel(name, this.#floors.size, this.#maxChannels);
  }

  recovery(channel: string, since: Since, journal: { epoch: string; head: number }): Recovery {
    return recoveryOf(this.floorOf(channel), since, journal);
  }
}
