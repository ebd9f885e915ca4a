import type { Logger } from "pino";
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
import { GAPS_STATE, PRESENCE_STATE, type Topic, type TopicTree } from "../../contract/topics.ts";
import { LimitedLog } from "../../platform/limited-log.ts";
import { TopicCache } from "../../platform/topic-cache.ts";
import type { Publish } from "../broker-link/publish.ts";
import type { Documents, Json } from "../cluster/cluster.ts";
import { dataOf, endOf } from "../journal/entry-body.ts";
import type { Entry, Journal, StateEntry } from "../journal/journal.ts";
import { Announcer } from "./announcer.ts";
import { afterBirth } from "./boots.ts";
import { eventIdOf } from "./event-id.ts";
import { type Fold, type RunningFold, startFold } from "./journal-fold.ts";
import {
  CameraNumbers,
  countOf,
  DEFAULT_GAP_LIMITS,
  type GapLimits,
  type GapNews,
  type NumberGap,
} from "./sequence-gaps.ts";

export interface LinkGapsOptions extends Partial<GapLimits> {
  journal: Pick<Journal, "epoch" | "head" | "follow" | "replay" | "recovery" | "snapshot" | "state">;
  documents: Pick<Documents, "list" | "get" | "put" | "delete">;
  tree: TopicTree;
  publish: Publish;
  /** Further cameras are not watched. Default 10,000. */
  maxCameras?: number;
  saveIntervalMs?: number;
  /** The server's own clock, milliseconds. Default: the system's. */
  now?: () => number;
  logger: Logger;
}

/** How long a gap stays in a camera's state `gaps`, milliseconds. */
const LISTED_MS = 48 * 3_600_000;
const MAX_LISTED = 32;
/** For so long after two devices with the camera's id took turns their numbers, of two outboxes, count nothing, milliseconds. */
const TURNS_MS = 120_000;
/** Topics whose parts are remembered: twice as many at most. */
const TOPICS_REMEMBERED = 10_000;
const DROPPED_EVENT = "outbox.dropped";

interface Camera {
  numbers: CameraNumbers;
  /** Its boot, as presence has it. */
  session: string | undefined;
  /** The names of its last boots, by its births; the newest last. */
  boots: readonly string[];
  /** Until then its numbers are those of two devices. */
  turnsUntil: number;
}

/**
 * Says what never arrived from a camera: what the camera itself says that it dropped, at once, and what is missing in
 * the count of its messages, when that is certain. Each gap once, as an event and in the camera's state `gaps`.
 * @throws {StoreUnavailableError} it could not begin
 */
export async function startLinkGaps(options: LinkGapsOptions): Promise<{ stop(): Promise<void> }> {
  const { journal, documents, saveIntervalMs, logger } = options;
  const announcer = new Announcer({ publish: options.publish, logger });
  const fold = new GapFold(options, announcer);
  const running = await startFold({
    ...{ fold, journal, documents, logger },
    ...(saveIntervalMs === undefined ? {} : { saveIntervalMs }),
  });
  fold.running = running;
  return {
    async stop() {
      await announcer.stop();
      await running.stop();
      fold.endLog();
    },
  };
}

class GapFold implements Fold {
  readonly collection = "link-gaps";
  /** Set once it runs. */
  running: RunningFold | undefined;
  readonly #options: LinkGapsOptions;
  readonly #limits: GapLimits;
  readonly #maxCameras: number;
  readonly #now: () => number;
  readonly #announcer: Announcer;
  readonly #cameras = new Map<string, Camera>();
  readonly #changed = new Set<string>();
  readonly #limitedLog = new LimitedLog();
  readonly #topics: TopicCache<Meaning>;
  /** Gaps that are being said. */
  readonly #underWay = new WeakSet<NumberGap>();

  constructor(options: LinkGapsOptions, announcer: Announcer) {
    const { settleMs, maxWaitMs, maxGaps, maxCameras = 10_000, now = Date.now } = options;
    this.#options = options;
    this.#announcer = announcer;
    this.#maxCameras = maxCameras;
    this.#now = now;
    this.#topics = new TopicCache((name) => meaningOf(options.tree.parse(name)), TOPICS_REMEMBERED);
    this.#limits = {
      settleMs: settleMs ?? DEFAULT_GAP_LIMITS.settleMs,
      maxWaitMs: maxWaitMs ?? DEFAULT_GAP_LIMITS.maxWaitMs,
      maxGaps: maxGaps ?? DEFAULT_GAP_LIMITS.maxGaps,
    };
  }

  /** Logs what was only counted so far. */
  endLog(): void {
    this.#limitedLog.stop();
  }

  restore(key: string, value: Json): void {
    const read = savedSchema.safeParse(value);
    if (!read.success) return;
    const { session, ...numbers } = read.data;
    const boots = session === undefined ? [] : [session];
    this.#cameras.set(key, { session, boots, turnsUntil: 0, numbers: new CameraNumbers(this.#limits, numbers) });
  }

  apply(entry: Entry, replayed: boolean): void {
    if (entry.camera === undefined) return;
    const meaning = this.#topics.of(entry.topic);
    if (meaning === "not-the-camera") return;
    if (meaning === "presence") {
      if (entry.state === "clear") this.#forget(entry.camera);
      else this.#noteSession(entry);
    }
    if (meaning === "link") this.#cameBack(entry.camera, entry);
    const { seq, timestamp, historical } = endOf(entry);
    if (meaning === "dropped") this.#dropped(entry.camera, entry);
    if (seq === undefined) return;
    const camera = this.#camera(entry.camera);
    if (camera === undefined || camera.numbers.countless || entry.acceptedAt < camera.turnsUntil) return;
    this.#changed.add(entry.camera);
    const message = { seq, timestamp, historical, acceptedAt: entry.acceptedAt };
    for (const one of camera.numbers.take(message, !replayed)) this.#tell(entry.camera, camera, one);
    if (camera.numbers.countless) this.#noteCountless(entry.camera);
  }

  #noteCountless(camera: string): void {
    const { logger } = this.#options;
    this.#limitedLog.note(`countless ${camera}`, (times) =>
      logger.warn({ camera, times }, "the numbers of its messages do not count: gaps are not watched"),
    );
  }

  seed(states: readonly StateEntry[]): void {
    // Births before this nobody saw.
    for (const { numbers } of this.#cameras.values()) numbers.waitAnew(this.#now());
    for (const entry of states) {
      if (this.#topics.of(entry.topic) === "presence") this.#noteSession(entry);
    }
  }

  changes(): Map<string, Json | null> {
    const changes = new Map<string, Json | null>();
    for (const name of this.#changed) {
      const camera = this.#cameras.get(name);
      if (camera === undefined) {
        changes.set(name, null);
        continue;
      }
      const { gaps, ...numbers } = camera.numbers.saved;
      changes.set(name, {
        ...numbers,
        ...(camera.session === undefined ? {} : { session: camera.session }),
        gaps: gaps.map(({ said, ...gap }) => ({ ...gap, ...(said === undefined ? {} : { said }) })),
      });
    }
    this.#changed.clear();
    return changes;
  }

  /** It was removed. */
  #forget(name: string): void {
    if (this.#cameras.delete(name)) this.#changed.add(name);
  }

  #camera(name: string): Camera | undefined {
    const known = this.#cameras.get(name);
    if (known !== undefined || this.#cameras.size >= this.#maxCameras) return known;
    const camera: Camera = { numbers: new CameraNumbers(this.#limits), session: undefined, boots: [], turnsUntil: 0 };
    this.#cameras.set(name, camera);
    return camera;
  }

  #cameBack(name: string, entry: Entry): void {
    const link = linkSchema.safeParse(dataOf(entry)).data;
    const camera = this.#cameras.get(name);
    if (link?.status !== "online" || camera === undefined) return;
    camera.numbers.waitAnew(entry.acceptedAt);
    const { boots, cameBack } = afterBirth(camera.boots, link.session);
    camera.boots = boots;
    if (!cameBack) return;
    camera.turnsUntil = entry.acceptedAt + TURNS_MS;
    camera.numbers = new CameraNumbers(this.#limits);
    this.#changed.add(name);
  }

  #noteSession(entry: StateEntry): void {
    const camera = entry.camera === undefined ? undefined : this.#camera(entry.camera);
    const read = presenceSchema.safeParse(dataOf(entry));
    if (camera !== undefined && read.success) camera.session = read.data.session ?? camera.session;
  }

  #dropped(name: string, entry: Entry): void {
    const read = outboxDroppedSchema.safeParse(dataOf(entry));
    if (!read.success) return;
    const { session } = this.#camera(name) ?? {};
    const { count, from, to } = read.data;
    void this.#say(name, { reason: "dropped", count, from, to, ...(session === undefined ? {} : { session }) });
  }

  #tell(name: string, { numbers, session }: Camera, { type, gap }: GapNews): void {
    const of = session === undefined ? {} : { session };
    const { from, to } = gap;
    if (type === "filled") {
      const { count, first, last } = gap.said ?? { count: countOf(gap.runs), first: gap.first, last: gap.last };
      void this.#say(name, {
        ...{ reason: "missing", count, from, to, first_seq: first, last_seq: last, filled: true },
        ...of,
      });
      return;
    }
    if (this.#underWay.has(gap)) return;
    this.#underWay.add(gap);
    const figures = { count: countOf(gap.runs), first: gap.runs[0] ?? gap.first, last: gap.runs.at(-1) ?? gap.last };
    const { count, first, last } = figures;
    void this.#say(name, {
      ...{ reason: "missing", count, from, to, first_seq: first, last_seq: last },
      ...of,
    }).then((said) => {
      if (!said) return;
      numbers.said(gap, figures);
      this.#changed.add(name);
      void this.running?.save();
    });
    // So that a crash before it is said does not forget it.
    void this.running?.save();
  }

  /** First the event, then the state, each under an id of its own content. @returns whether it was said */
  async #say(camera: string, gap: LinkGap): Promise<boolean> {
    const { logger } = this.#options;
    const { reason, count, from, to, first_seq = 0, last_seq = 0, filled = false } = gap;
    const about = [camera, reason, count, from, to, first_seq, last_seq, String(filled)];
    const said = await this.#announcer.say(() => ({
      topic: { kind: "camera-event", camera, event: LINK_GAP_EVENT },
      event: LINK_GAP_EVENT,
      data: gap,
      id: eventIdOf(LINK_GAP_EVENT, ...about),
    }));
    if (!said) return false;
    this.#limitedLog.note(`gap ${camera}`, (times) =>
      logger.info({ camera, reason, count, from, to, filled, times }, "gap of a camera"),
    );
    return this.#announcer.say(() => {
      const gaps = this.#listWith(camera, gap);
      return gaps === undefined
        ? undefined
        : {
            topic: { kind: "camera-state", camera, name: GAPS_STATE },
            event: "state.updated",
            data: gaps.length === 0 ? null : { gaps },
            retain: true,
            id: eventIdOf(GAPS_STATE, this.#options.journal.epoch, ...about),
          };
    });
  }

  /** The camera's list with this gap, or without it when it was filled; undefined when that is so already. */
  #listWith(camera: string, gap: LinkGap): LinkGap[] | undefined {
    const { journal, tree } = this.#options;
    const state = journal.state(tree.build({ kind: "camera-state", camera, name: GAPS_STATE }));
    const read = linkGapsSchema.safeParse(state === undefined ? { gaps: [] } : dataOf(state));
    const before = read.success ? read.data.gaps : [];
    const others = before.filter((other) => keyOf(other) !== keyOf(gap));
    if (gap.filled === true ? others.length === before.length : others.length < before.length) return undefined;
    const oldest = this.#now() - LISTED_MS;
    const listed = gap.filled === true ? others : [...others, gap];
    return listed.filter(({ to }) => Date.parse(to) >= oldest).slice(-MAX_LISTED);
  }
}

/** What a topic's messages mean here, besides their numbers. */
type Meaning = "presence" | "link" | "dropped" | "other" | "not-the-camera";

function meaningOf(topic: Topic | undefined): Meaning {
  // A job that names a camera has the numbers of its service.
  if (topic === undefined || !("camera" in topic)) return "not-the-camera";
  if (topic.kind === "camera-link") return "link";
  if (topic.kind === "camera-state" && topic.name === PRESENCE_STATE) return "presence";
  return topic.kind === "camera-event" && topic.event === DROPPED_EVENT ? "dropped" : "other";
}

function keyOf({ reason, from, to, first_seq, last_seq }: LinkGap): string {
  return JSON.stringify([reason, from, to, first_seq, last_seq]);
}

const number = z.number().int().nonnegative();
const savedSchema = z.object({
  max: number,
  timestamp: z.string(),
  historicalAt: number,
  countless: z.boolean(),
  session: linkGapSchema.shape.session,
  gaps: z.array(
    z
      .object({
        ...{ first: number, last: number, runs: z.array(number), waitingSince: number },
        ...{ from: timestampSchema, to: timestampSchema },
        said: z.object({ count: number, first: number, last: number }).optional(),
      })
      .transform(({ said, ...gap }): NumberGap => ({ ...gap, said })),
  ),
});
