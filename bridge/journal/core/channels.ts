import type { Gap, Since } from "../../../contract/socket-messages.ts";
import { isChannelName } from "../../../contract/topics.ts";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import type { Recovery } from "../journal.ts";
import type { KnownGaps } from "./known-gaps.ts";

/** The channel of entries without a channel. It has the same retention as other channels. Only its state is read. */
export const NO_CHANNEL = "";
const NO_CHANNELS = [NO_CHANNEL];

/** The channels that keep an entry: its own channels, or {@link NO_CHANNEL}. */
export function keepingChannels(channels: readonly string[]): readonly string[] {
  return channels.length === 0 ? NO_CHANNELS : channels;
}

export interface Channel {
  readonly name: string;
  /** The highest position that retention removed from the channel. */
  floor: number;
}

interface ChannelTableOptions {
  /** The highest floor of the channels that were removed because they kept no entries. */
  forgottenFloor: number;
  maxChannels: number;
  /** Default: the store loses no entries. */
  knownGaps?: KnownGaps | undefined;
}

/** The channels of the journal in memory. */
export abstract class ChannelTable<Known extends Channel = Channel> {
  protected readonly channels = new Map<string, Known>();
  protected readonly maxChannels: number;
  protected forgottenFloor: number;
  readonly #knownGaps: KnownGaps | undefined;

  constructor({ forgottenFloor, maxChannels, knownGaps }: ChannelTableOptions) {
    this.forgottenFloor = forgottenFloor;
    this.maxChannels = maxChannels;
    this.#knownGaps = knownGaps;
  }

  get(name: string): Known | undefined {
    return this.channels.get(name);
  }

  names(): Iterable<string> {
    return this.channels.keys();
  }

  all(): Iterable<Known> {
    return this.channels.values();
  }

  /** The number of channels that can still be added. */
  get free(): number {
    return Math.max(0, this.maxChannels - this.channels.size);
  }

  /** @throws {RangeError} an invalid name @throws {StoreUnavailableError} the table is full */
  check(name: string): void {
    if (this.channels.has(name)) return;
    if (!isChannelName(name))
      throw new RangeError(`"${name}" is not a channel name: 1 to 63 of a-z, 0-9 and '-', as in camera:north`);
    if (this.channels.size >= this.maxChannels)
      throw new StoreUnavailableError(`the journal already has ${this.maxChannels} channels and cannot add ${name}`);
  }

  floorOf(name: string): number {
    // A removed channel of this name may have had entries up to the floor.
    return this.channels.get(name)?.floor ?? this.forgottenFloor;
  }

  /** The highest position that retention removed from any channel. */
  highestFloor(): number {
    let highest = this.forgottenFloor;
    for (const { floor } of this.channels.values()) highest = Math.max(highest, floor);
    return highest;
  }

  /** @param shared as for {@link Journal.recovery} */
  recovery(channel: string, since: Since, { epoch, head }: { epoch: string; head: number }, shared?: number): Recovery {
    const floor = this.floorOf(channel);
    if (since.epoch !== epoch) {
      const reason = "epoch_changed";
      if (shared === undefined) return { complete: false, reason, gap: { after: 0, before: floor + 1 } };
      const after = Math.min(since.position, shared);
      const keptFrom = Math.max(after, floor);
      return { complete: false, reason, gap: { after, before: Math.max(since.position, keptFrom) + 1 }, keptFrom };
    }
    if (since.position > head) return { complete: false, reason: "ahead", gap: { after: head, before: head + 1 } };
    if (since.position < floor)
      return { complete: false, reason: "trimmed", gap: { after: since.position, before: floor + 1 } };
    const gap = this.#knownGaps?.next(channel, since.position);
    if (gap === undefined) return { complete: true };
    const after = Math.max(since.position, gap.after);
    return { complete: false, reason: "damaged", gap: { after, before: gap.before } };
  }

  /** The gap with which the channels begin after a cursor. Undefined: nothing is missing there, as far as is known. */
  gapAfter(names: readonly string[], after: number): Gap | undefined {
    const floor = Math.max(0, ...names.map((name) => this.floorOf(name)));
    if (floor > after) return { after, before: floor + 1 };
    for (const name of names) {
      const gap = this.#knownGaps?.next(name, after);
      if (gap !== undefined && gap.after <= after) return { after, before: gap.before };
    }
    return undefined;
  }
}
