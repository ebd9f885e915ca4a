import { z } from "zod";
import {
  LINK_GAP_EVENT,
  type LinkGap,
  linkGapSchema,
  linkGapsSchema,
  linkSchema,
  outboxDroppedSchema,
  presenceSchema,
  timestampSchema,
} from "../../contract/events.ts";
import { GAPS_STATE, PRESENCE_STATE, type Topic } from "../../contract/topics.ts";
import { LimitedLog } from "../../platform/limited-log.ts";
import { TopicCache } from "../../platform/topic-cache.ts";
import type { Json } from "../cluster/cluster.ts";
import { dataOf, endOf } from "../journal/entry-body.ts";
import type { Entry, StateEntry } from "../journal/journal.ts";
import { addBoot } from "./boot-history.ts";
import { BoundedMap } from "./bounded-map.ts";
import type { PublishingWatcherOptions } from "./checkpoint.ts";
import { CAMERA_DEFAULTS } from "./config.ts";
import { eventIdOf } from "./event-id.ts";
import { PublishQueue } from "./publish-queue.ts";
import {
  countOf,
  DEFAULT_GAP_LIMITS,
  type GapChange,
  type GapLimits,
  type SequenceGap,
  SequenceTracker,
} from "./sequence-gaps.ts";
import { startCheckpointedWatcher, type Watcher } from "./watcher.ts";
import type { CheckpointedRules } from "./watcher-rules.ts";

type LinkGapsOptions = PublishingWatcherOptions & Partial<GapLimits>;

/** How long a gap is listed in a camera's state `gaps`, milliseconds. */
const LISTED_MS = 48 * 3_600_000;
const MAX_LISTED = 32;
/** How long sequence numbers are ignored after two devices with one id alternated, milliseconds. */
const ALTERNATING_MS = 120_000;
/** The most topics in each of the two generations of the cache. */
const CACHED_TOPICS = 10_000;
const DROPPED_EVENT = "outbox.dropped";

interface Camera {
  sequence: SequenceTracker;
  /** The camera's session (one per boot), from its published presence. */
  session: string | undefined;
  boots: readonly string[];
  /** Sequence numbers are ignored until this time: see {@link ALTERNATING_MS}. */
  ignoredUntil: number;
}

/**
 * Reports messages of a camera that never arrived: at once if the camera reports that it dropped them, otherwise when
 * sequence numbers are missing and no backlog is expected. Publishes each gap once, as an event and in the camera's
 * state `gaps`.
 * @throws {StoreUnavailableError} the saved state cannot be read
 */
export async function startLinkGaps(options: LinkGapsOptions): Promise<Watcher> {
  const rules = new LinkGapRules(options);
  const watcher = await startCheckpointedWatcher(rules, { ...options, limitedLog: rules.limitedLog });
  rules.saveNow = () => void watcher.save();
  return watcher;
}

class LinkGapRules implements CheckpointedRules {
  readonly collection = "link-gaps";
  readonly changed = new Set<string>();
  readonly limitedLog = new LimitedLog();
  /** Set once the watcher runs. */
  saveNow = () => {};
  readonly #options: LinkGapsOptions;
  readonly #limits: GapLimits;
  readonly #now: () => number;
  readonly #queue: PublishQueue;
  readonly #cameras: BoundedMap<Camera>;
  readonly #meanings: TopicCache<Meaning>;
  /** Gaps whose publication is under way. */
  readonly #publishing = new WeakSet<SequenceGap>();

  constructor(options: LinkGapsOptions) {
    const { maxCameras = CAMERA_DEFAULTS.presence.maxCameras, now = Date.now, publish, logger } = options;
    const { settleMs, maxWaitMs, maxGaps } = { ...DEFAULT_GAP_LIMITS, ...options };
    this.#options = options;
    this.#now = now;
    this.#queue = new PublishQueue({ publish, logger });
    this.#cameras = new BoundedMap(maxCameras);
    this.#meanings = new TopicCache((name) => meaningOf(options.tree.parse(name)), CACHED_TOPICS);
    this.#limits = { settleMs, maxWaitMs, maxGaps };
  }

  restore(key: string, value: Json): void {
    const saved = savedSchema.safeParse(value).data;
    if (saved === undefined) return;
    const { session, countless, gaps, ...rest } = saved;
    const sequence = new SequenceTracker(this.#limits, {
      ...{ ...rest, isUntrackable: countless },
      gaps: gaps.map(({ said, ...gap }) => ({ ...gap, reported: said })),
    });
    this.#cameras.set(key, { sequence, session, boots: session === undefined ? [] : [session], ignoredUntil: 0 });
  }

  document(name: string): Json | null {
    const camera = this.#cameras.get(name);
    if (camera === undefined) return null;
    const { gaps, isUntrackable, ...rest } = camera.sequence.saved;
    return {
      ...{ ...rest, countless: isUntrackable },
      ...(camera.session === undefined ? {} : { session: camera.session }),
      gaps: gaps.map(({ reported, ...gap }) => ({
        ...gap,
        ...(reported === undefined ? {} : { said: { ...reported } }),
      })),
    };
  }

  seed(retained: readonly StateEntry[]): void {
    // A camera may have reconnected before this start, and may still send the missing messages.
    for (const { sequence } of this.#cameras.values()) sequence.restartWait(this.#now());
    for (const entry of retained) {
      const meaning = this.#meanings.of(entry.topic);
      if (meaning === "presence") this.#noteSession(entry);
      else if (meaning === "gaps") this.#noteListed(entry);
    }
  }

  missed(): void {
    for (const { sequence } of this.#cameras.values()) sequence.missed();
  }

  apply(entry: Entry): void {
    if (entry.camera === undefined) return;
    const meaning = this.#meanings.of(entry.topic);
    if (meaning === "not-the-camera") return;
    // A cleared presence: the camera was removed.
    if (meaning === "presence" && entry.state !== "clear") this.#noteSession(entry);
    else if (meaning === "presence" && this.#cameras.delete(entry.camera)) this.changed.add(entry.camera);
    else if (meaning === "link") this.#noteBirth(entry.camera, entry);
    else if (meaning === "dropped") this.#reportDropped(entry.camera, entry);
    else if (meaning === "gaps") this.#noteListed(entry);
    const { seq, timestamp, historical } = endOf(entry);
    if (seq === undefined) return;
    const camera = this.#camera(entry.camera);
    if (camera === undefined || camera.sequence.isUntrackable || entry.acceptedAt < camera.ignoredUntil) return;
    this.changed.add(entry.camera);
    const message = { seq, timestamp, historical, acceptedAt: entry.acceptedAt };
    for (const change of camera.sequence.add(message)) this.#report(entry.camera, camera, change);
    if (!camera.sequence.isUntrackable) return;
    const { camera: name } = entry;
    this.limitedLog.note(`untrackable ${name}`, (times) =>
      this.#options.logger.warn(
        { camera: name, times },
        "sequence numbers are not consecutive: gaps of the camera are not reported",
      ),
    );
  }

  settle(): Promise<void> {
    return this.#queue.stop();
  }

  #camera(name: string): Camera | undefined {
    return this.#cameras.getOrCreate(name, () => ({
      ...{ sequence: new SequenceTracker(this.#limits), session: undefined, boots: [], ignoredUntil: 0 },
    }));
  }

  #noteBirth(name: string, entry: Entry): void {
    const link = linkSchema.safeParse(dataOf(entry)).data;
    const camera = this.#cameras.get(name);
    if (link?.status !== "online" || camera === undefined) return;
    camera.sequence.restartWait(entry.acceptedAt);
    const { history, isReturn } = addBoot(camera.boots, link.session);
    camera.boots = history;
    if (!isReturn) return;
    camera.ignoredUntil = entry.acceptedAt + ALTERNATING_MS;
    camera.sequence = new SequenceTracker(this.#limits);
    this.changed.add(name);
  }

  #noteSession(entry: StateEntry): void {
    const camera = entry.camera === undefined ? undefined : this.#camera(entry.camera);
    const presence = presenceSchema.safeParse(dataOf(entry)).data;
    if (camera !== undefined && presence !== undefined) camera.session = presence.session ?? camera.session;
  }

  /** The node that watched before may have reported a gap and died before it saved that. */
  #noteListed(entry: StateEntry): void {
    const camera = entry.camera === undefined ? undefined : this.#cameras.get(entry.camera);
    for (const { reason, count, from, to, first_seq, last_seq } of linkGapsSchema.safeParse(dataOf(entry)).data?.gaps ??
      [])
      if (reason === "missing" && first_seq !== undefined && last_seq !== undefined)
        camera?.sequence.noteReported({ from, to }, { count, first: first_seq, last: last_seq });
  }

  #reportDropped(name: string, entry: Entry): void {
    const dropped = outboxDroppedSchema.safeParse(dataOf(entry)).data;
    if (dropped === undefined) return;
    const { session } = this.#camera(name) ?? {};
    const { count, from, to } = dropped;
    void this.#publish(name, { reason: "dropped", count, from, to, ...(session === undefined ? {} : { session }) });
  }

  #report(name: string, { session }: Camera, { type, gap }: GapChange): void {
    const missing = { count: countOf(gap.runs), first: gap.runs[0] ?? gap.first, last: gap.runs.at(-1) ?? gap.last };
    const { count, first, last } = (type === "filled" ? gap.reported : undefined) ?? missing;
    const event: LinkGap = {
      ...{ reason: "missing", count, from: gap.from, to: gap.to, first_seq: first, last_seq: last },
      ...(type === "filled" ? { filled: true } : {}),
      ...(session === undefined ? {} : { session }),
    };
    if (type === "filled") {
      void this.#publish(name, event);
      return;
    }
    if (this.#publishing.has(gap)) return;
    this.#publishing.add(gap);
    void this.#publish(name, event).then((isPublished) => {
      if (!isPublished) return;
      gap.reported = missing;
      this.changed.add(name);
      this.saveNow();
    });
    // Saved first, so that the gap is not lost if this node crashes before the gap is published.
    this.saveNow();
  }

  /** Publishes the event, then the state. Both ids depend only on the content. @returns whether both were published */
  async #publish(camera: string, gap: LinkGap): Promise<boolean> {
    const { logger } = this.#options;
    const { reason, count, from, to, first_seq = 0, last_seq = 0, filled = false } = gap;
    const about = [camera, reason, count, from, to, first_seq, last_seq, String(filled)];
    const event = LINK_GAP_EVENT;
    const id = eventIdOf(event, ...about);
    const topic = { kind: "camera-event", camera, event } as const;
    if (!(await this.#queue.add(() => ({ topic, event, data: gap, id })))) return false;
    this.limitedLog.note(`gap ${camera}`, (times) =>
      logger.info({ camera, reason, count, from, to, filled, times }, "camera gap published"),
    );
    return this.#queue.add(() => {
      const gaps = this.#listWith(camera, gap);
      if (gaps === undefined) return undefined;
      const topic = { kind: "camera-state", camera, name: GAPS_STATE } as const;
      const id = eventIdOf(GAPS_STATE, this.#options.journal.epoch, ...about);
      return { topic, event: "state.updated", data: gaps.length === 0 ? null : { gaps }, retain: true, id };
    });
  }

  /** The camera's `gaps` with this gap added, or removed if it was filled; undefined when the list stays the same. */
  #listWith(camera: string, gap: LinkGap): LinkGap[] | undefined {
    const { journal, tree } = this.#options;
    const state = journal.state(tree.build({ kind: "camera-state", camera, name: GAPS_STATE }));
    const listed = (state === undefined ? undefined : linkGapsSchema.safeParse(dataOf(state)).data?.gaps) ?? [];
    const others = listed.filter((other) => keyOf(other) !== keyOf(gap));
    if (gap.filled === true ? others.length === listed.length : others.length < listed.length) return undefined;
    const oldest = this.#now() - LISTED_MS;
    const next = gap.filled === true ? others : [...others, gap];
    return next.filter(({ to }) => Date.parse(to) >= oldest).slice(-MAX_LISTED);
  }
}

type Meaning = "presence" | "gaps" | "link" | "dropped" | "other" | "not-the-camera";

function meaningOf(topic: Topic | undefined): Meaning {
  // A job message has a sequence number of the service, even if the job names a camera.
  if (topic === undefined || !("camera" in topic)) return "not-the-camera";
  if (topic.kind === "camera-link") return "link";
  if (topic.kind === "camera-state" && topic.name === PRESENCE_STATE) return "presence";
  if (topic.kind === "camera-state" && topic.name === GAPS_STATE) return "gaps";
  return topic.kind === "camera-event" && topic.event === DROPPED_EVENT ? "dropped" : "other";
}

function keyOf({ reason, from, to, first_seq, last_seq }: LinkGap): string {
  return JSON.stringify([reason, from, to, first_seq, last_seq]);
}

/** These field names are on disk and in Redis: they must not change. */
const number = z.number().int().nonnegative();
const savedSchema = z.object({
  max: number,
  timestamp: z.string(),
  historicalAt: number,
  countless: z.boolean(),
  session: linkGapSchema.shape.session,
  gaps: z.array(
    z.object({
      ...{ first: number, last: number, runs: z.array(number), waitingSince: number },
      ...{ from: timestampSchema, to: timestampSchema },
      said: z.object({ count: number, first: number, last: number }).optional(),
    }),
  ),
});
