import type { Entry } from "../../journal.ts";
import { RecentEntries } from "../../recent-entries.ts";
import { type StateChanges, StateTable } from "../level/state-table.ts";
import { Channels } from "./channels.ts";
import type { RedisJournalLimits } from "./limits.ts";

/** Entries of no channel are kept, and dropped, like those of one. */
export const NO_CHANNEL = "";

/**
 * What this node knows of the journal, all of it as of one position. It grows with the log, entry by entry; when the
 * journal turns out to be another one, it is thrown away as a whole and loaded anew.
 */
export class JournalView {
  readonly epoch: string;
  readonly channels: Channels;
  readonly states: StateTable;
  readonly recentEntries: RecentEntries;
  #head: number;
  #stamp: string;

  constructor(
    { epoch, head, stamp, forgottenFloor }: { epoch: string; head: number; stamp: string; forgottenFloor: number },
    limits: RedisJournalLimits,
  ) {
    this.epoch = epoch;
    this.#head = head;
    this.#stamp = stamp;
    this.channels = new Channels(forgottenFloor, limits.maxChannels);
    this.states = new StateTable(limits);
    this.recentEntries = new RecentEntries({ maxChars: limits.maxRecentChars });
  }

  get head(): number {
    return this.#head;
  }

  /** Of the chunk that ends at the head. */
  get stamp(): string {
    return this.#stamp;
  }

  /**
   * Takes in the entries that follow the head.
   * @returns the first topic whose state there was no room for
   */
  apply(entries: readonly Entry[], stamp: string): string | undefined {
    let skippedStateTopic: string | undefined;
    let changes: StateChanges | undefined;
    for (const entry of entries) {
      if (entry.channels.length === 0) this.channels.add(NO_CHANNEL);
      else for (const name of entry.channels) this.channels.add(name);
      if (entry.state === undefined) continue;
      // State that was loaded a moment ago may be newer than the log that is read after it.
      if ((this.states.get(entry.topic)?.position ?? 0) > entry.position) continue;
      changes ??= new Map();
      if (!this.states.note(entry, changes)) skippedStateTopic ??= entry.topic;
    }
    if (changes !== undefined) this.states.apply(changes);
    this.recentEntries.push(entries);
    this.#head = entries.at(-1)?.position ?? this.#head;
    this.#stamp = stamp;
    return skippedStateTopic;
  }
}
