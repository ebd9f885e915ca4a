import { ChannelTable } from "../../core/channels.ts";

/** A floor that retention raised, as `TRIM` returns it. `removed` is 1 when the channel is empty and was removed. */
export type MovedFloor = [channel: string, floor: number, removed: 0 | 1];

/** A floor may be a moment behind Redis. A page that lacks entries for that reason reports a gap. */
export class ChannelFloors extends ChannelTable {
  add(name: string): void {
    if (!this.channels.has(name)) this.channels.set(name, { name, floor: this.forgottenFloor });
  }

  /** An outdated, lower floor changes nothing. */
  raise(name: string, floor: number): void {
    if (floor <= this.floorOf(name)) return;
    const known = this.channels.get(name);
    if (known === undefined) this.channels.set(name, { name, floor });
    else known.floor = floor;
  }

  moved(floors: readonly MovedFloor[]): void {
    for (const [name, floor, removed] of floors) {
      if (removed === 0) this.raise(name, floor);
      else {
        this.channels.delete(name);
        this.forgottenFloor = Math.max(this.forgottenFloor, floor);
      }
    }
  }
}
