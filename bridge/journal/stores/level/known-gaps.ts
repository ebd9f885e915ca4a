import type { Gap } from "../../../../contract/socket-messages.ts";

/** KnownGaps remembered of one channel: beyond it neighbours become one, which says more to be missing than is. */
const MAX_GAPS = 64;

/**
 * Entries that a channel had and the store cannot give any more, because it is damaged. A hole is known once somebody
 * met it; readers are told of it instead of being given what lies around it as if it were all.
 */
export class KnownGaps {
  readonly #knownGaps = new Map<string, Gap[]>();
  readonly #onFound: (channel: string, gap: Gap) => void;

  /** @param onFound called once for each hole */
  constructor(onFound: (channel: string, gap: Gap) => void) {
    this.#onFound = onFound;
  }

  /** Notes that entries of the channel between the two positions are missing. */
  note(channel: string, gap: Gap): void {
    const knownGaps = this.#knownGaps.get(channel) ?? [];
    if (knownGaps.some(({ after, before }) => after <= gap.after && gap.before <= before)) return;
    const apart = knownGaps.filter(({ after, before }) => before <= gap.after || gap.before <= after);
    const merged = knownGaps.filter((hole) => !apart.includes(hole)).reduce((all, hole) => unionOf(all, hole), gap);
    const all = [...apart, merged].sort((one, other) => one.after - other.after);
    while (all.length > MAX_GAPS) all.splice(0, 2, unionOf(all[0] ?? merged, all[1] ?? merged));
    this.#knownGaps.set(channel, all);
    this.#onFound(channel, gap);
  }

  /** The first hole that a reader of the channel who has everything up to the position is still to meet. */
  next(channel: string, position: number): Gap | undefined {
    return this.#knownGaps.get(channel)?.find(({ before }) => position < before - 1);
  }
}

function unionOf(one: Gap, other: Gap): Gap {
  return { after: Math.min(one.after, other.after), before: Math.max(one.before, other.before) };
}
