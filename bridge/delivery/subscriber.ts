import type { Logger } from "pino";
import type { ServerMessage, Since } from "../../contract/socket-messages.ts";
import type { LimitedLog } from "../../platform/limited-log.ts";
import type { Journal, ReplacedEpoch, StateEntry } from "../journal/journal.ts";
import type { Backfill, BackfillReader } from "./backfill.ts";
import { type ChannelFilter, channelFilterOf, labelOf, NO_CHANNELS, shows } from "./channel-filter.ts";
import type { FanOut } from "./fan-out.ts";
import type { FrameSink } from "./frame-sink.ts";
import { type Label, messageFrame } from "./frames.ts";
import type { EntriesRequest, Lost, Page, PageCache, PageRequest, Snapshot } from "./page-cache.ts";
import type { LiveSubscriber } from "./subscriber-group.ts";
import { type Behind, IDLE, isBehind, type RangeTask, type SubscriberState, transition } from "./subscriber-state.ts";

export interface SubscriberContext {
  journal: Pick<Journal, "epoch" | "recovery">;
  fanOut: Pick<FanOut, "edge" | "join" | "leave">;
  backfill: Pick<Backfill, "add" | "remove">;
  pageCache: Pick<PageCache, "snapshot">;
  logger: Logger;
  limitedLog: Pick<LimitedLog, "note">;
}

type SubscriptionResult = Extract<ServerMessage, { type: "subscription_result" }>;

/**
 * The subscriptions of one connection. `subscriber-state.ts` draws the states:
 *
 * 1. Backfilling: the subscriber gets the requested snapshots and ranges, then pages above its cursor. Each page waits
 *    until the socket has drained.
 * 2. Cutover: the cursor reaches the live edge. The subscriber gets `caught_up`, and joins the group of its filter.
 * 3. Live: fan-out writes to the socket. When the socket is full, the subscriber lags: it backfills again, and pages
 *    omit state that a later entry replaces.
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
  /** As in {@link EntriesRequest}. */
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
   * All events of the subscribed channels up to this position were sent. Undefined during backfill tasks, and without a
   * channel: the client may be about to resume from an older position.
   */
  get position(): number | undefined {
    const state = this.#state;
    if (state.kind === "live") return state.member.group.position(this.#context.fanOut.edge);
    return isBehind(state) && state.tasks.length === 0 ? state.cursor : undefined;
  }

  /** Answers the request and begins to deliver. The channel must exist, be permitted, and not be subscribed yet. */
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

  /** Changes the cameras that the client may see, and sends the state of the added cameras. */
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

  /** Stops delivery until {@link Subscriber.resume}, because the journal was reset. */
  pause(): void {
    this.#interrupt();
  }

  /** @param replaced set if the journal has a new epoch: the client gets the gap, then the state and what follows the gap */
  resume(replaced: ReplacedEpoch | undefined): void {
    if (replaced !== undefined) {
      const { journal, fanOut } = this.#context;
      const before = this.#interrupt();
      const sent = new Map([...this.#channels.keys()].map((channel) => [channel, this.#sentOf(channel, before)]));
      this.#channels.clear();
      this.#reportedGaps.clear();
      const behind = transition(before, { kind: "replaced", cursor: fanOut.edge });
      this.#state = behind;
      for (const [channel, newest] of sent) {
        behind.announce.add(channel);
        // No journal has the epoch "", so nothing in the channel is regarded as sent.
        const recovery =
          newest === undefined
            ? journal.recovery(channel, { epoch: "", position: 0 })
            : journal.recovery(channel, { epoch: replaced.epoch, position: newest }, replaced.shared);
        const position = recovery.complete ? fanOut.edge : this.#reportGap(behind, channel, recovery);
        this.#deliverAbove(behind, channel, position);
      }
    }
    this.#continue();
  }

  fallBehind(after: number): void {
    const { backfill, logger, limitedLog } = this.#context;
    // Limited by user, so that a client that reconnects each time does not cause a log line each time.
    limitedLog.note(this.#user, (times) => logger.info({ ...this.sink.names, after, times }, "client is lagging"));
    this.#state = transition(this.#state, { kind: "fell behind", cursor: after });
    this.sink.send({ type: "lagging", position: after });
    backfill.add(this);
  }

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
    // All members of a group use one filter object, because their filters are equal.
    this.#filter = member.group.filter;
    this.#state = transition(behind, { kind: "joined", member });
    return true;
  }

  /** The entries of all channels above the cursor. */
  #requestAbove({ kind, cursor: after }: Behind): EntriesRequest {
    const [begins, filter, reportedGaps] = [this.#channels, this.#filter, this.#reportedGaps];
    const [channels, until, coalesce] = [filter.channels, this.#context.fanOut.edge, kind === "lagging"];
    const isShared = [...begins.values()].every((began) => began <= after);
    const ofFilter = (entry: StateEntry) => labelOf(filter, entry);
    const label = isShared ? ofFilter : (entry: StateEntry) => this.#begun(entry, labelOf(filter, entry));
    const name = `${coalesce ? "newest" : "all"} ${after} ${[...reportedGaps.values()]} ${filter.key}`;
    const key = isShared ? name : undefined;
    return { kind: "entries", channels, begins, reportedGaps, after, until, coalesce, label, key };
  }

  #requestRange({ channel, after, until }: RangeTask): EntriesRequest {
    const [channels, begins, reportedGaps] = [new Set([channel]), new Map<string, number>(), this.#reportedGaps];
    const ofChannel = [channel];
    const label = (entry: StateEntry) => (shows(channel, this.#onlyCameras, entry) ? ofChannel : undefined);
    return { kind: "entries", channels, begins, reportedGaps, after, until, coalesce: false, label, key: undefined };
  }

  /** The channels of the label whose delivery begins below the entry. */
  #begun(entry: StateEntry, label: Label | undefined): Label | undefined {
    const begun = label?.filter((channel) => entry.position > (this.#channels.get(channel) ?? 0));
    return begun?.length === 0 ? undefined : begun;
  }

  /** Reports a gap in the journal, sends the state as of its end, and continues there. */
  #lose(behind: Behind, { channel, reason, gap, keptFrom }: Lost): void {
    if (!this.#channels.has(channel)) return;
    behind.announce.add(channel);
    const [first, ...others] = behind.tasks;
    const range = first?.kind === "range" && first.channel === channel ? first : undefined;
    if (keptFrom !== undefined) {
      // Events that are kept within the gap are sent, so the cursor stays.
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
   * Reports missing events to the client, and sends the state.
   * @param cursor the client's newest position; events between the cursor and a later gap are sent first
   * @returns the position above which everything can be sent
   */
  #reportGap(
    behind: Behind,
    channel: string,
    { reason, gap, keptFrom }: Omit<Lost, "channel">,
    id?: SubscriptionResult["id"],
    cursor = gap.after,
  ): number {
    const { journal, fanOut, pageCache } = this.#context;
    const { epoch } = journal;
    // Within one epoch, events after the gap are sent. After a change of epoch, the end of the gap is unknown.
    const isSameEpoch = reason === "trimmed" || reason === "damaged";
    const isAhead = reason === "damaged" && gap.after > cursor;
    const end = isSameEpoch ? Math.min(Math.max(gap.before - 1, gap.after), fanOut.edge) : fanOut.edge;
    const position = keptFrom !== undefined ? Math.min(keptFrom, end) : isAhead ? cursor : end;
    // The positions of another epoch's gap are those of other events in this epoch.
    if (keptFrom !== undefined && isSameEpoch) this.#reportedGaps.set(channel, gap.before - 1);
    const reported = { after: gap.after, before: Math.max(gap.before, position + 1) };
    const result = { type: "subscription_result", channel, success: true, epoch, position, id } as const;
    this.sink.send({ ...result, recovered: false, reason, gap: reported });
    const snapshot = pageCache.snapshot(channel, this.#onlyCameras);
    const older = snapshot.entries.filter((entry) => entry.position <= position);
    const isWhole = older.length === snapshot.entries.length;
    addSnapshot(behind, channel, isWhole ? snapshot : { entries: older, key: undefined });
    return position;
  }

  /**
   * Delivers the events of the channel above the position: events up to the cursor in a task of their own, later events
   * together with those of the other channels.
   */
  #deliverAbove(behind: Behind, channel: string, position: number): void {
    if (this.#channels.size === 0) behind.cursor = position;
    if (position < behind.cursor) behind.tasks.push({ kind: "range", channel, after: position, until: behind.cursor });
    this.#channels.set(channel, position);
  }

  /** The position up to which the client has everything of the channel. Undefined: it has no complete state. */
  #sentOf(channel: string, { cursor, tasks }: Behind): number | undefined {
    if (tasks.some(({ kind }) => kind !== "range")) return undefined;
    const [range] = tasks.filter((task) => task.channel === channel);
    return range?.kind === "range" ? range.after : Math.max(cursor, this.#channels.get(channel) ?? 0);
  }

  /** Stops delivery, so that the subscription can change. A call of {@link Subscriber.#continue} must follow. */
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
