import { NO_CHANNEL } from "../../core/channels.ts";
import { JournalView } from "../../core/journal-view.ts";
import type { PublicationRows } from "../../core/publication-rows.ts";
import { type StateChanges, StateTable } from "../../core/state-table.ts";
import type { Entry } from "../../journal.ts";
import { ChannelFloors } from "./channel-floors.ts";
import { ChunkHistory } from "./chunk-history.ts";
import type { RedisJournalLimits } from "./limits.ts";

interface ViewStart {
  epoch: string;
  origins: ReadonlyMap<string, number>;
  head: number;
  stamp: string;
  forgottenFloor: number;
  publications: PublicationRows;
}

/** When Redis holds another journal, a new view replaces the view. */
export class RedisView extends JournalView<ChannelFloors> {
  /** The stamp of the chunk that ends at the head. */
  stamp: string;
  readonly history: ChunkHistory;

  constructor({ stamp, forgottenFloor, ...start }: ViewStart, limits: RedisJournalLimits) {
    const { maxChannels, maxRecentChars } = limits;
    const channels = new ChannelFloors({ forgottenFloor, maxChannels });
    super({ ...start, channels, states: new StateTable(limits), maxRecentChars });
    this.stamp = stamp;
    this.history = new ChunkHistory(start.head, stamp);
  }

  /** Applies the next entries. @returns the first topic whose state was not stored because the state table is full */
  applyChunks(entries: readonly Entry[], stamp: string): string | undefined {
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
    this.apply(entries, changes);
    this.stamp = stamp;
    this.history.push(this.head, stamp);
    return skippedStateTopic;
  }
}
