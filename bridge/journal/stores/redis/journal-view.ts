import type { PublicationRows } from "../../core/publication-rows.ts";
import type { Entry } from "../../journal.ts";
import { RecentEntries } from "../../recent-entries.ts";
import { NO_CHANNEL } from "../channels.ts";
import { type StateChanges, StateTable } from "../level/state-table.ts";
import { Channels } from "./channels.ts";
import type { RedisJournalLimits } from "./limits.ts";

interface ViewStart {
  epoch: string;
  head: number;
  stamp: string;
  forgottenFloor: number;
  publications: PublicationRows;
}

/**
 * This node's copy of the journal's state, in memory, as of one position. The entries of the log update the copy in order.
 * When Redis holds another journal, a new view replaces it.
 */
export class JournalView {
  readonly epoch: string;
  readonly channels: Channels;
  readonly states: StateTable;
  readonly recentEntries: RecentEntries;
  readonly publications: PublicationRows;
  /** Changed by {@link apply} only. */
  head: number;
  /** The stamp of the chunk that ends at the head. */
  stamp: string;

  constructor({ epoch, head, stamp, forgottenFloor, publications }: ViewStart, limits: RedisJournalLimits) {
    this.epoch = epoch;
    this.head = head;
    this.stamp = stamp;
    this.channels = new Channels(forgottenFloor, limits.maxChannels);
    this.states = new StateTable(limits);
    this.publications = publications;
    this.recentEntries = new RecentEntries({ maxChars: limits.maxRecentChars });
  }

  /** Applies the next entries. @returns the first topic whose state was not stored because the state table is full */
  apply(entries: readonly Entry[], stamp: string): string | undefined {
    let skippedStateTopic: string | undefined;
    let changes: StateChanges | undefined;
    for (const entry of entries) {
      if (entry.channels.length === 0) this.channels.add(NO_CHANNEL);
      else for (const name of entry.channels) this.channels.add(name);
      if (entry.state === undefined) continue;
      // The state was loaded before the log was read, and may be newer than this entry.
      if ((this.states.get(entry.topic)?.position ?? 0) > entry.position) continue;
      changes ??= new Map();
      if (!this.states.note(entry, changes)) skippedStateTopic ??= entry.topic;
    }
    if (changes !== undefined) this.states.apply(changes);
    this.recentEntries.push(entries);
    this.head = entries.at(-1)?.position ?? this.head;
    this.stamp = stamp;
    return skippedStateTopic;
  }
}
