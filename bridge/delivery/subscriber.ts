import type { Logger } from "pino";
import type { ServerMessage, Since } from "../../contract/socket-messages.ts";
import type { LimitedLog } from "../../platform/limited-log.ts";
import type { Journal, StateEntry } from "../journal/journal.ts";
import type { BackfillReader } from "./backfill.ts";
import { type ChannelFilter, channelFilterOf, labelOf, NO_CHANNELS, shows } from "./channel-filter.ts";
import type { FrameSink } from "./frame-sink.ts";
import { type Label, messageFrame } from "./frames.ts";
import type { EntriesRequest, Lost, Page, PageCache, PageRequest, Snapshot } from "./page-cache.ts";
import type { GroupMember, LiveSubscriber } from "./subscriber-group.ts";
import {
  type BackfillTask,
  type Behind,
  IDLE,
  isBehind,
  type SubscriberState,
  transition,
} from "./subscriber-state.ts";

export interface SubscriberContext {
  journal: Pick<Journal, "epoch" | "recovery">;
  fanOut: {
    readonly edge: number;
    join(subscriber: LiveSubscriber, filter: ChannelFilter): GroupMember;
    leave(member: GroupMember): number;
  };
  backfill: {
    add(reader: BackfillReader): void;
    remove(reader: BackfillReader): void;
  };
  pageCache: Pick<PageCache, "snapshot">;
  logger: Logger;
  limitedLog: Pick<LimitedLog, "note">;
}

type SubscriptionResult = Extract<ServerMessage, { type: "subscription_result" }>;

/**
 * What one connection receives: its channels, and its place in the journal. It owns its state, which is described in
 * `subscriber-state.ts`:
 *
 * 1. Backfilling: it is sent the snapshots and ranges that were asked for, then pages above its cursor. Each page waits
 *    until the socket has drained.
 * 2. Cutover: its cursor reaches the live edge. It is sent `caught_up`, and joins the group of its filter.
 * 3. Live: fan-out writes to its socket. When it is full, the subscriber lags and backfills again, with state
 *    coalesced.
 */
export class Subscriber implements BackfillReader, LiveSubscriber {
  readonly sink: FrameSink;
  readonly #user: string;
  readonly #context: SubscriberContext;
  /** By channel: the position after which its events are sent. */
  readonly #channels = new Map<string, number>();
  #state: SubscriberState = IDLE;
  #filter: ChannelFilter = NO_CHANNELS;
  #onlyCameras: ReadonlySet<string> | undefined;
  /** By channel: the end of a gap that was reported to the client, if some events within the gap are still kept. */
  readonly #reportedGaps = new Map<string, number>();

  constructor(
    sink: FrameSink,
    { user, onlyCameras }: { user: string; onlyCameras: ReadonlySet<string> | undefined },
    context: SubscriberContext,
  ) {
    this.sink = sink;
    this.#user = user;
    this.#onlyCameras = onlyCameras;
    this.#context = context;
  }

  get channels(): Pick<ReadonlyMap<string, unknown>, "keys" | "has" | "size"> {
    return this.#channels;
  }

  get lagging(): boolean {
    return this.#state.kind === "lagging";
  }

  /**
   * Everything of the subscribed channels up to here was sent. Undefined without a channel, because the client may hold
   * an older position that it has not resumed from yet; and undefined while there are backfill tasks.
   */
  get position(): number | undefined {
    const state = this.#state;
    if (state.kind === "live") return state.member.group.position(this.#context.fanOut.edge);
    return isBehind(state) && state.tasks.length === 0 ? state.cursor : undefined;
  }

  /** Answers the request and begins to deliver. The channel must exist, be permitted, and not be subscribed. */
  subscribe(channel: string, since: Since | undefined, id: SubscriptionResult["id"]): void {
    const { journal, fanOut, pageCache } = this.#context;
    const behind = this.#interrupt();
    const { edge } = fanOut;
    const { epoch } = journal;
    const result = { type: "subscription_result", channel, success: true, epoch, id } as const;
    behind.announce.add(channel);
    if (since === undefined) {
      this.sink.send({ ...result, position: edge });
      addSnapshot(behind, channel, pageCache.snapshot(channel, this.#onlyCameras));
      this.#channels.set(channel, edge);
    } else {
      const recovery = journal.recovery(channel, since);
      if (recovery.complete) {
        this.sink.send({ ...result, position: edge, recovered: true });
        this.#deliverAbove(behind, channel, since.position);
      } else this.#deliverAbove(behind, channel, this.#reportGap(behind, channel, recovery, id, since.position));
    }
    this.#continue();
  }

  unsubscribe(channel: string): void {
    const behind = this.#interrupt();
    this.#channels.delete(channel);
    this.#reportedGaps.delete(channel);
    behind.announce.delete(channel);
    const others = behind.tasks.filter((task) => task.channel !== channel);
    behind.tasks.splice(0, behind.tasks.length, ...others);
    this.#continue();
  }

  /** Changes the cameras that the client may see. The state of cameras that it could not see before is sent. */
  narrow(onlyCameras: ReadonlySet<string> | undefined): void {
    const before = this.#onlyCameras;
    const keyOf = (cameras: ReadonlySet<string> | undefined) => channelFilterOf(this.#channels.keys(), cameras).key;
    if (keyOf(onlyCameras) === keyOf(before)) {
      this.#onlyCameras = onlyCameras;
      return;
    }
    const behind = this.#interrupt();
    this.#onlyCameras = onlyCameras;
    for (const channel of this.#channels.keys()) {
      const { entries } = this.#context.pageCache.snapshot(channel, onlyCameras);
      const unseen = entries.filter((entry) => !shows(channel, before, entry));
      addSnapshot(behind, channel, { entries: unseen, key: undefined });
    }
    this.#continue();
  }

  /** Stops delivery until {@link Subscriber.resume}: the journal was replaced, or fan-out missed entries of it. */
  pause(): void {
    this.#interrupt();
  }

  /**
   * Continues in the journal as it is now.
   * @param isReplaced the journal has another epoch: the gap is reported to the client, then the state is sent
   */
  resume(isReplaced: boolean): void {
    if (isReplaced) {
      const { journal, fanOut } = this.#context;
      const channels = [...this.#channels.keys()];
      this.#channels.clear();
      this.#reportedGaps.clear();
      const behind = transition(this.#interrupt(), { kind: "replaced", cursor: fanOut.edge });
      this.#state = behind;
      for (const channel of channels) {
        behind.announce.add(channel);
        // No journal has this epoch, so everything in the channel is regarded as not sent.
        const recovery = journal.recovery(channel, { epoch: "", position: 0 });
        const position = recovery.complete ? fanOut.edge : this.#reportGap(behind, channel, recovery);
        this.#deliverAbove(behind, channel, position);
      }
    }
    this.#continue();
  }

  /** Called by fan-out: the socket is full, and everything up to `after` was sent. */
  fallBehind(after: number): void {
    const { backfill, logger, limitedLog } = this.#context;
    const { id: connection } = this.sink;
    const user = this.#user;
    // Limited by user, because a client that reconnects each time must not cause a log line each time.
    limitedLog.note(user, (times) => logger.info({ connection, user, after, times }, "client is lagging"));
    this.#state = transition(this.#state, { kind: "fell behind", cursor: after });
    this.sink.send({ type: "lagging", position: after });
    backfill.add(this);
  }

  /** The socket has drained. */
  drained(): void {
    if (isBehind(this.#state)) this.#context.backfill.add(this);
  }

  close(): void {
    this.#interrupt();
    this.#channels.clear();
    this.#state = transition(this.#state, { kind: "continued", hasChannels: false });
  }

  nextRequest(): PageRequest | undefined {
    const state = this.#state;
    if (!isBehind(state) || this.#joinAtEdge(state)) return undefined;
    const [task] = state.tasks;
    if (task === undefined) return this.#requestAbove(state);
    return task.kind === "snapshot" ? task : this.#requestRange(task);
  }

  received(page: Page): boolean {
    const state = this.#state;
    if (!isBehind(state)) return false;
    const [task] = state.tasks;
    if (page.lost.length > 0) for (const lost of page.lost) this.#lose(state, lost);
    else if (task === undefined) state.cursor = page.next;
    else if (task.kind === "snapshot") {
      task.next = page.next;
      if (task.next >= task.snapshot.entries.length) state.tasks.shift();
    } else {
      task.after = page.next;
      if (task.after >= task.until) state.tasks.shift();
    }
    return !this.#joinAtEdge(state);
  }

  /** Cutover: at the live edge, announces it and joins live delivery. @returns whether it is live now */
  #joinAtEdge(behind: Behind): boolean {
    const { fanOut } = this.#context;
    const { edge } = fanOut;
    if (behind.tasks.length > 0 || behind.cursor < edge) return false;
    const channels = behind.kind === "lagging" ? this.#channels.keys() : behind.announce;
    const frames = [...channels].map((channel) => messageFrame({ type: "caught_up", channel, position: edge }));
    if (frames.length > 0) this.sink.write(Buffer.concat(frames));
    const member = fanOut.join(this, this.#filter);
    // This filter is equal to the subscriber's own, and is shared with the other members.
    this.#filter = member.group.filter;
    this.#state = transition(behind, { kind: "joined", member });
    return true;
  }

  /** The entries of all channels above the cursor. */
  #requestAbove({ kind, cursor }: Behind): EntriesRequest {
    const channels = this.#channels;
    const filter = this.#filter;
    const coalesce = kind === "lagging";
    const isShared = [...channels.values()].every((began) => began <= cursor);
    const key = `${coalesce ? "newest" : "all"} ${cursor} ${[...this.#reportedGaps.values()]} ${filter.key}`;
    return {
      kind: "entries",
      channels: filter.channels,
      begins: channels,
      reportedGaps: this.#reportedGaps,
      after: cursor,
      until: this.#context.fanOut.edge,
      coalesce,
      label: isShared ? (entry) => labelOf(filter, entry) : (entry) => this.#begun(entry, labelOf(filter, entry)),
      key: isShared ? key : undefined,
    };
  }

  #requestRange({ channel, after, until }: Extract<BackfillTask, { kind: "range" }>): EntriesRequest {
    const label = [channel];
    return {
      kind: "entries",
      channels: new Set(label),
      begins: new Map(),
      reportedGaps: this.#reportedGaps,
      after,
      until,
      coalesce: false,
      label: (entry) => (shows(channel, this.#onlyCameras, entry) ? label : undefined),
      key: undefined,
    };
  }

  /** The channels of the label whose delivery begins below the entry. */
  #begun(entry: StateEntry, label: Label | undefined): Label | undefined {
    const begun = label?.filter((channel) => entry.position > (this.#channels.get(channel) ?? 0));
    return begun?.length === 0 ? undefined : begun;
  }

  /** The journal lacks entries: reports the gap, sends the state as of the gap's end, and continues there. */
  #lose(behind: Behind, { channel, reason, gap, keptFrom }: Lost): void {
    if (!this.#channels.has(channel)) return;
    behind.announce.add(channel);
    const [first, ...others] = behind.tasks;
    const range = first?.kind === "range" && first.channel === channel ? first : undefined;
    if (keptFrom !== undefined) {
      // Events that are kept within the gap are still sent, so the reader stays where it is.
      this.#reportGap(behind, channel, { reason, gap, keptFrom: range?.after ?? behind.cursor });
    } else if (range === undefined) {
      this.#deliverAbove(behind, channel, this.#reportGap(behind, channel, { reason, gap }));
    } else {
      behind.tasks.length = 0;
      const position = this.#reportGap(behind, channel, { reason, gap });
      this.#channels.set(channel, position);
      if (position < range.until) behind.tasks.push({ ...range, after: position });
      behind.tasks.push(...others);
    }
  }

  /**
   * Tells the client that events are missing, and sends the state.
   * @param place the newest position that the client has; events between this position and a later gap are sent first
   * @returns the position above which everything can be sent
   */
  #reportGap(
    behind: Behind,
    channel: string,
    { reason, gap, keptFrom }: Omit<Lost, "channel">,
    id?: SubscriptionResult["id"],
    place = gap.after,
  ): number {
    const { journal, fanOut, pageCache } = this.#context;
    const { epoch } = journal;
    // Within one epoch, events that are kept after the gap are sent. In another epoch, the end of the gap is unknown.
    const isSameEpoch = reason === "trimmed" || reason === "damaged";
    const isAhead = reason === "damaged" && gap.after > place;
    const end = isSameEpoch ? Math.min(Math.max(gap.before - 1, gap.after), fanOut.edge) : fanOut.edge;
    const position = keptFrom !== undefined ? Math.min(keptFrom, end) : isAhead ? place : end;
    if (keptFrom !== undefined) this.#reportedGaps.set(channel, gap.before - 1);
    const reported = { after: gap.after, before: Math.max(gap.before, position + 1) };
    const result = { type: "subscription_result", channel, success: true, epoch, position, id } as const;
    this.sink.send({ ...result, recovered: false, reason, gap: reported });
    const snapshot = pageCache.snapshot(channel, this.#onlyCameras);
    const older = snapshot.entries.filter((entry) => entry.position <= position);
    const isWhole = older.length === snapshot.entries.length;
    addSnapshot(behind, channel, isWhole ? snapshot : { entries: older, key: undefined });
    return position;
  }

  /** Delivers the channel above the position: up to the cursor by itself, and then together with the other channels. */
  #deliverAbove(behind: Behind, channel: string, position: number): void {
    if (this.#channels.size === 0) behind.cursor = position;
    if (position < behind.cursor) behind.tasks.push({ kind: "range", channel, after: position, until: behind.cursor });
    this.#channels.set(channel, position);
  }

  /** Stops delivery, so that the subscription can be changed. Must be followed by {@link Subscriber.#continue}. */
  #interrupt(): Behind {
    const { fanOut, backfill } = this.#context;
    const cursor = this.#state.kind === "live" ? fanOut.leave(this.#state.member) : fanOut.edge;
    backfill.remove(this);
    const behind = transition(this.#state, { kind: "interrupted", cursor });
    this.#state = behind;
    return behind;
  }

  #continue(): void {
    const hasChannels = this.#channels.size > 0;
    this.#filter = hasChannels ? channelFilterOf(this.#channels.keys(), this.#onlyCameras) : NO_CHANNELS;
    this.#state = transition(this.#state, { kind: "continued", hasChannels });
    if (hasChannels) this.#context.backfill.add(this);
  }
}

function addSnapshot({ tasks }: Behind, channel: string, snapshot: Snapshot): void {
  if (snapshot.entries.length > 0) tasks.push({ kind: "snapshot", channel, snapshot, next: 0 });
}
