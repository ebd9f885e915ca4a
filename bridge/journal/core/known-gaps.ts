import type { Gap } from "../../../contract/socket-messages.ts";

/** The largest number of gaps of one channel. Beyond it, the lowest two are joined, with the entries between them. */
const MAX_GAPS = 64;

/**
 * The ranges of positions, by channel, whose entries a damaged store has lost. A gap becomes known when the journal is
 * opened, or when a reader reaches it. A reader gets the gap, so that it knows that entries are missing.
 */
export class KnownGaps {
  readonly #gaps = new Map<string, Gap[]>();
  readonly #onFound: (channel: string, gap: Gap) => void;

  /** @param onFound called once for each gap */
  constructor(onFound: (channel: string, gap: Gap) => void) {
    this.#onFound = onFound;
  }

  add(channel: string, gap: Gap): void {
    const gaps = this.#gaps.get(channel) ?? [];
    if (gaps.some(({ after, before }) => after <= gap.after && gap.before <= before)) return;
    const apart = gaps.filter(({ after, before }) => before <= gap.after || gap.before <= after);
    const merged = gaps.filter((other) => !apart.includes(other)).reduce((all, other) => unionOf(all, other), gap);
    const all = [...apart, merged].sort((one, other) => one.after - other.after);
    while (all.length > MAX_GAPS) all.splice(0, 2, unionOf(all[0] ?? merged, all[1] ?? merged));
    this.#gaps.set(channel, all);
    this.#onFound(channel, gap);
  }

  /** The first gap of the channel that ends after a reader's cursor. */
  next(channel: string, position: number): Gap | undefined {
    return this.#gaps.get(channel)?.find(({ before }) => position < before - 1);
  }
}

function unionOf(one: Gap, other: Gap): Gap {
  return { after: Math.min(one.after, other.after), before: Math.max(one.before, other.before) };
}
