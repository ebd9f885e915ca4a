import type { Entry } from "../journal.ts";
import { RecentEntries } from "../recent-entries.ts";
import type { ChannelTable } from "./channels.ts";
import type { PublicationRows } from "./publication-rows.ts";
import type { StateChanges, StateTable } from "./state-table.ts";

interface ViewStart<Channels> {
  epoch: string;
  origins?: ReadonlyMap<string, number>;
  head: number;
  channels: Channels;
  states: StateTable;
  publications: PublicationRows;
  /** See {@link RecentEntries}. */
  maxRecentChars: number;
}

/** This node's copy of what readers see of the journal, in memory, as of one position. New entries update it in order. */
export class JournalView<Channels extends ChannelTable = ChannelTable> {
  readonly epoch: string;
  /** Earlier epochs, with the position up to which the journal still has their entries. */
  readonly origins: ReadonlyMap<string, number>;
  readonly channels: Channels;
  readonly states: StateTable;
  readonly publications: PublicationRows;
  readonly recentEntries: RecentEntries;
  /** The newest position. Changed by {@link apply} only. */
  head: number;

  constructor({
    epoch,
    origins = new Map(),
    head,
    channels,
    states,
    publications,
    maxRecentChars,
  }: ViewStart<Channels>) {
    this.epoch = epoch;
    this.origins = origins;
    this.head = head;
    this.channels = channels;
    this.states = states;
    this.publications = publications;
    this.recentEntries = new RecentEntries({ maxChars: maxRecentChars });
  }

  /** Applies the next entries, with their changes of the state. */
  apply(entries: readonly Entry[], changes: StateChanges | undefined): void {
    if (changes !== undefined) this.states.apply(changes);
    this.recentEntries.push(entries);
    this.head = entries.at(-1)?.position ?? this.head;
  }
}
