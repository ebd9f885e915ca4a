import type { ServerMessage, Since } from "../../contract/socket-messages.ts";
import type { Journal, StateEntry } from "../journal/journal.ts";
import type { Connection } from "../websocket/connection.ts";
import type { Backfill, Reading } from "./backfill.ts";
import { type ChannelFilter, channelFilterOf, labelOf, shows } from "./channel-filter.ts";
import { type FanOut, NOTHING } from "./fan-out.ts";
import { type Label, messageFrame } from "./frames.ts";
import type { Lost, PageCache, PageRequest, Snapshot } from "./page-cache.ts";
import type { SubscriberGroup } from "./subscriber-group.ts";

/** What must be sent before the feed goes on from its cursor. */
export type BackfillTask =
  | { kind: "snapshot"; channel: string; snapshot: Snapshot; sent: number }
  /**
   * Entries of a channel that was subscribed with a place behind the cursor: above `after`, up to `until`. Those that
   * came by way of another channel before are sent again under this one: its subscriber was promised all of them.
   */
  | { kind: "stretch"; channel: string; after: number; until: number };

export interface SubscriberContext {
  journal: Journal;
  fanOut: FanOut;
  backfill: Backfill;
  pageCache: PageCache;
}

type SubscriptionResult = Extract<ServerMessage, { type: "subscription_result" }>;

/**
 * What one connection is given: its channels, and its place in the journal.
 *
 * ```
 *            no channel left ┌──────┐ subscribe
 *                ┌──────────▶│ idle │──────────────┐
 *                │           └──────┘              ▼
 *            ┌──────┐  the edge is reached   ┌─────────────┐
 *            │ live │◀───────────────────────│ catching up │──┐ errands, then pages from the cursor on,
 *            └──────┘───────────────────────▶└─────────────┘◀─┘ each when the socket has drained
 *                     subscribe, or the socket is full
 *                     (lagging: state is coalesced until the edge is reached)
 * ```
 *
 * Live is to be in a group; `cursor` means something only while catching up: everything up to it was sent, but for
 * the errands.
 */
export class Subscriber {
  readonly connection: Connection;
  readonly #context: SubscriberContext;
  /** Each subscribed channel with the position from which on it is sent. */
  readonly channels = new Map<string, number>();
  readonly backfillTasks: BackfillTask[] = [];
  filter: ChannelFilter = NOTHING;
  group: SubscriberGroup | undefined;
  /** The feed's place in its group. */
  slot = 0;
  cursor = 0;
  /** The page that is being read for it. */
  reading: Reading | undefined;
  lagging = false;
  #onlyCameras: ReadonlySet<string> | undefined;
  /** Up to where the subscriber of a channel was told that events are missing, while others are kept there. */
  readonly #told = new Map<string, number>();
  /** Channels whose subscriber is to be told when the edge is reached. */
  #awaiting: string[] = [];

  constructor(connection: Connection, onlyCameras: ReadonlySet<string> | undefined, context: SubscriberContext) {
    this.connection = connection;
    this.#onlyCameras = onlyCameras;
    this.#context = context;
  }

  /**
   * Everything of the subscribed channels up to here has been sent. Undefined without a channel, for the client may hold
   * an older place that it has not asked to resume from, and while errands are open.
   */
  get position(): number | undefined {
    const { fanOut } = this.#context;
    if (this.channels.size === 0) return undefined;
    if (this.group !== undefined) return this.group.position(fanOut.edge);
    return this.backfillTasks.length === 0 ? this.cursor : undefined;
  }

  /** Answers the request, and begins to send what it asks for. The channel exists, may be read, and is not subscribed. */
  subscribe(channel: string, since: Since | undefined, id: SubscriptionResult["id"]): void {
    const { journal, fanOut, pageCache } = this.#context;
    this.#halt();
    const edge = fanOut.edge;
    const { epoch } = journal;
    if (this.channels.size === 0) this.cursor = edge;
    const result = { type: "subscription_result", channel, success: true, epoch, id } as const;
    this.#awaiting.push(channel);
    if (since === undefined) {
      this.connection.send({ ...result, position: edge });
      this.#sendSnapshot(channel, pageCache.snapshot(channel, this.#onlyCameras));
      this.channels.set(channel, edge);
    } else {
      const recovery = journal.recovery(channel, since);
      if (recovery.complete) {
        this.connection.send({ ...result, position: edge, recovered: true });
        this.#goOn(channel, since.position);
      } else this.#goOn(channel, this.#tellGap(channel, recovery, id, since.position));
    }
    this.#settle();
  }

  unsubscribe(channel: string): void {
    this.#halt();
    this.channels.delete(channel);
    this.#told.delete(channel);
    this.#awaiting = this.#awaiting.filter((name) => name !== channel);
    const others = this.backfillTasks.filter((task) => task.channel !== channel);
    this.backfillTasks.splice(0, this.backfillTasks.length, ...others);
    this.#settle();
  }

  /** Other cameras may be seen than before. The state of those that were not seen is sent. */
  narrow(onlyCameras: ReadonlySet<string> | undefined): void {
    const before = this.#onlyCameras;
    if (channelFilterOf(this.channels.keys(), onlyCameras).key === channelFilterOf(this.channels.keys(), before).key) {
      this.#onlyCameras = onlyCameras;
      return;
    }
    this.#halt();
    this.#onlyCameras = onlyCameras;
    for (const channel of this.channels.keys()) {
      const { entries } = this.#context.pageCache.snapshot(channel, onlyCameras);
      const unseen = entries.filter((entry) => !shows(channel, before, entry));
      if (unseen.length > 0) this.#sendSnapshot(channel, { entries: unseen, key: undefined });
    }
    this.#settle();
  }

  /** The journal was replaced, or has holes behind its head: the feed is to be served no more until it is resumed. */
  pause(): void {
    this.#halt();
  }

  /**
   * Goes on in the journal as it is now.
   * @param isOther nothing of what was sent before means anything in it: the gap is told, then the state is sent
   */
  resume(isOther: boolean): void {
    if (isOther) {
      const { journal, fanOut } = this.#context;
      const channels = [...this.channels.keys()];
      this.channels.clear();
      this.#told.clear();
      this.backfillTasks.length = 0;
      this.lagging = false;
      this.#awaiting = [...channels];
      for (const channel of channels) {
        // No journal has had this epoch: whatever the channel holds was not sent.
        const recovery = journal.recovery(channel, { epoch: "", position: 0 });
        if (recovery.complete) this.#goOn(channel, fanOut.edge);
        else this.#goOn(channel, this.#tellGap(channel, recovery, undefined));
      }
    }
    this.#settle();
  }

  /** The socket is full: the feed has left its group, and has everything up to `after`. */
  lag(after: number): void {
    this.cursor = after;
    this.lagging = true;
    this.connection.send({ type: "lagging", position: after });
    this.#context.backfill.add(this);
  }

  /** The socket is empty again. */
  drained(): void {
    if (this.group === undefined && this.channels.size > 0) this.#context.backfill.add(this);
  }

  close(): void {
    this.#halt();
    this.channels.clear();
    this.backfillTasks.length = 0;
  }

  /** The page that comes next: of the first errand, else from the cursor on. */
  request(): PageRequest {
    const task = this.backfillTasks[0];
    if (task?.kind === "stretch") return this.#stretchRequest(task);
    const { filter, cursor, channels, lagging } = this;
    const until = this.#context.fanOut.edge;
    const shared = [...channels.values()].every((began) => began <= cursor);
    return {
      channels: filter.channels,
      begins: channels,
      told: this.#told,
      after: cursor,
      until,
      coalesce: lagging,
      label: shared ? (entry) => labelOf(filter, entry) : (entry) => this.#unseen(entry, labelOf(filter, entry)),
      key: shared ? `${lagging ? "newest" : "all"} ${cursor} ${[...this.#told.values()]} ${filter.key}` : undefined,
    };
  }

  /** The journal no longer has everything: the gap is told, then the state as it was when it began, then what is left. */
  lose({ channel, reason, gap, keptFrom }: Lost): void {
    if (!this.channels.has(channel)) return;
    if (!this.#awaiting.includes(channel)) this.#awaiting.push(channel);
    const [task, ...others] = this.backfillTasks;
    if (keptFrom !== undefined) {
      // What is kept within the gap is sent: the reader stays where it is.
      const place = task?.kind === "stretch" && task.channel === channel ? task.after : this.cursor;
      this.#tellGap(channel, { reason, gap, keptFrom: place }, undefined);
      return;
    }
    if (task?.kind !== "stretch" || task.channel !== channel) {
      this.#goOn(channel, this.#tellGap(channel, { reason, gap }, undefined));
      return;
    }
    this.backfillTasks.length = 0;
    const position = this.#tellGap(channel, { reason, gap }, undefined);
    this.channels.set(channel, position);
    if (position < task.until) this.backfillTasks.push({ ...task, after: position });
    this.backfillTasks.push(...others);
  }

  /** The edge is reached: those who wait for it are told, and live delivery goes on from here. */
  arrive(): void {
    const { fanOut } = this.#context;
    const channels = this.lagging ? this.channels.keys() : this.#awaiting;
    const notices = [...channels].map((channel) => messageFrame({ type: "caught_up", channel, position: fanOut.edge }));
    if (notices.length > 0) this.connection.write(Buffer.concat(notices));
    this.#awaiting = [];
    this.lagging = false;
    fanOut.join(this);
  }

  /**
   * Says that events are missing, and sends the state.
   * @param place what the subscriber has; what it lacks up to a gap that lies further on is sent first
   * @returns from where on everything can be sent
   */
  #tellGap(
    channel: string,
    { reason, gap, keptFrom }: Omit<Lost, "channel">,
    id: SubscriptionResult["id"],
    place = gap.after,
  ): number {
    const { journal, fanOut, pageCache } = this.#context;
    const { epoch } = journal;
    // What is kept behind the gap is sent as it happened; in another epoch there is no telling where the gap ends.
    const goesOn = reason === "trimmed" || reason === "damaged";
    const isAhead = reason === "damaged" && gap.after > place;
    const behind = goesOn ? Math.min(Math.max(gap.before - 1, gap.after), fanOut.edge) : fanOut.edge;
    const position = keptFrom !== undefined ? Math.min(keptFrom, behind) : isAhead ? place : behind;
    if (keptFrom !== undefined) this.#told.set(channel, gap.before - 1);
    const told = { after: gap.after, before: Math.max(gap.before, position + 1) };
    const result = { type: "subscription_result", channel, success: true, epoch, position, id } as const;
    this.connection.send({ ...result, recovered: false, reason, gap: told });
    const whole = pageCache.snapshot(channel, this.#onlyCameras);
    const older = whole.entries.filter((entry) => entry.position <= position);
    this.#sendSnapshot(channel, older.length === whole.entries.length ? whole : { entries: older, key: undefined });
    return position;
  }

  /** Sends what is above the position: with the other channels where the cursor is not beyond it, else as an errand. */
  #goOn(channel: string, position: number): void {
    if (this.channels.size === 0) this.cursor = position;
    if (position < this.cursor)
      this.backfillTasks.push({ kind: "stretch", channel, after: position, until: this.cursor });
    this.channels.set(channel, position);
  }

  #sendSnapshot(channel: string, snapshot: Snapshot): void {
    if (snapshot.entries.length > 0) this.backfillTasks.push({ kind: "snapshot", channel, snapshot, sent: 0 });
  }

  #stretchRequest({ channel, after, until }: Extract<BackfillTask, { kind: "stretch" }>): PageRequest {
    const label = [channel];
    return {
      channels: new Set(label),
      begins: new Map(),
      told: this.#told,
      after,
      until,
      coalesce: false,
      label: (entry) => (shows(channel, this.#onlyCameras, entry) ? label : undefined),
      key: undefined,
    };
  }

  #unseen(entry: StateEntry, label: Label | undefined): Label | undefined {
    const unseen = label?.filter((channel) => entry.position > (this.channels.get(channel) ?? 0));
    return unseen?.length === 0 ? undefined : unseen;
  }

  /** Out of live delivery, with a cursor that says how far it came. */
  #halt(): void {
    const { fanOut, backfill } = this.#context;
    this.cursor = fanOut.leave(this);
    backfill.remove(this);
  }

  #settle(): void {
    this.filter = this.channels.size === 0 ? NOTHING : channelFilterOf(this.channels.keys(), this.#onlyCameras);
    if (this.channels.size > 0) this.#context.backfill.add(this);
    else this.lagging = false;
  }
}
