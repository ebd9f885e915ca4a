import type { Logger } from "pino";
import { messageOf } from "../../platform/errors.ts";
import {
  hasExpired,
  type LoggedPublication,
  type PublicationLog,
  type PublicationPage,
  sizeOf,
} from "../../platform/publication-log.ts";
import type { SessionGroup } from "./session-groups.ts";

/** Compaction begins at this size of the log, or at a quarter of the largest size. */
const SOFT_BYTES = 128 * 1024 * 1024;
const SEGMENT_BYTES = 4 * 1024 * 1024;
const SEGMENTS_PER_LIMIT = 32;
/** Segments end after this time, so that their age is known. */
const SEGMENT_MS = 3_600_000;
/** After a step of the compaction, this many times the step's duration is left to others. */
const REST_FACTOR = 4;
const MIN_REST_MS = 20;
/** More publications in one rest are a burst of writes, which a step waits for, but not longer than this. */
const BURST = 50;
const MAX_WAIT_MS = 5_000;
/** Compacted segments are compacted again after this time at the earliest, and only if sessions have moved. */
const REPEAT_MS = 600_000;

/** A part of the log, in order. */
interface Segment {
  upTo: number;
  bytes: number;
  /** When its first and its newest publication were stored, milliseconds since 1970. */
  since: number;
  until: number;
  isCompacted: boolean;
}

interface LogBoundsOptions {
  log: PublicationLog;
  /** The largest size of all publications that sessions may have behind them. Infinity: no limit. */
  maxBytes: number;
  /** The largest age of a publication, milliseconds. Infinity: no limit. */
  maxAgeMs: number;
  /** For each group, the lowest position that one of its sessions has behind it or has sent. */
  lowest: () => ReadonlyMap<SessionGroup, number>;
  match: (publication: LoggedPublication) => readonly SessionGroup[];
  /** The positions that sessions have sent and that are not acknowledged. */
  open: () => ReadonlySet<number>;
  /** One of several nodes compacts the log for all. */
  isFirstNode: () => boolean;
  /** Milliseconds since 1970. */
  now: () => number;
  logger: Logger;
}

/**
 * The size and age of the log, and its compaction: a session that is away for a long time and wants little must not hold
 * what only others wanted. When the log is large, its old publications are reduced to those that some session wants.
 */
export class LogBounds {
  readonly #options: LogBoundsOptions;
  readonly #segmentBytes: number;
  readonly softBytes: number;
  #segments: Segment[] = [];
  bytes = 0;
  #compacting: Promise<void> | undefined;
  #passedFor: ReadonlyMap<SessionGroup, number> = new Map();
  #passedAt = 0;
  #added = 0;
  #isStopped = false;

  constructor(options: LogBoundsOptions) {
    this.#options = options;
    this.softBytes = Math.min(SOFT_BYTES, options.maxBytes / 4);
    this.#segmentBytes = Math.min(SEGMENT_BYTES, this.softBytes / SEGMENTS_PER_LIMIT);
  }

  /** The log has these publications next. @param stored when they were stored. Default: now */
  add(publications: readonly LoggedPublication[], stored: PublicationPage["stored"] = []): void {
    const now = this.#options.now();
    let next = 0;
    for (const publication of publications) {
      while ((stored[next]?.upTo ?? Infinity) < publication.position) next++;
      this.#add(publication.position, sizeOf(publication), stored[next]?.at ?? now);
    }
    this.#added += publications.length;
  }

  #add(upTo: number, bytes: number, at: number): void {
    this.bytes += bytes;
    const last = this.#segments.at(-1);
    if (last === undefined || last.bytes >= this.#segmentBytes || at - last.since >= SEGMENT_MS)
      this.#segments.push({ upTo, bytes, since: at, until: at, isCompacted: false });
    else {
      last.upTo = upTo;
      last.bytes += bytes;
      last.until = at;
    }
  }

  /** Publications up to the position are no longer in the log. */
  trim(floor: number): void {
    let count = 0;
    for (const { upTo, bytes } of this.#segments) {
      if (upTo > floor) break;
      this.bytes -= bytes;
      count++;
    }
    this.#segments.splice(0, count);
  }

  /** Publications of this size, at or before the position, were removed by a compaction. */
  removed(upTo: number, bytes: number): void {
    const at = this.#segments.findIndex((segment) => segment.upTo >= upTo);
    let left = bytes;
    for (let index = at === -1 ? this.#segments.length - 1 : at; index >= 0 && left > 0; index--) {
      const segment = this.#segments[index];
      if (segment === undefined) break;
      const size = Math.min(segment.bytes, left);
      segment.bytes -= size;
      this.bytes -= size;
      left -= size;
    }
  }

  /** The position up to which publications must go, so that the log has its size and age; 0 if none must go. */
  excess(): number {
    const { maxBytes, maxAgeMs, now } = this.#options;
    const oldest = now() - maxAgeMs;
    let { bytes } = this;
    let position = 0;
    for (const segment of this.#segments) {
      if (bytes <= maxBytes && segment.until >= oldest) break;
      bytes -= segment.bytes;
      position = segment.upTo;
    }
    return position;
  }

  clear(): void {
    this.#segments = [];
    this.bytes = 0;
  }

  /** Begins a compaction if the log is large and none runs. */
  compact(): void {
    if (this.bytes <= this.softBytes || !this.#options.isFirstNode()) return;
    if (this.#compacting !== undefined || this.#isStopped) return;
    if (this.#firstRaw() === -1 && !this.#mayRepeat()) return;
    this.#compacting = this.#compactAll()
      .catch((error: unknown) => {
        this.#options.logger.debug({ why: messageOf(error) }, "log of MQTT sessions is not compacted, retrying later");
      })
      .finally(() => {
        this.#compacting = undefined;
      });
  }

  /** Resolves when no compaction runs. */
  async idle(): Promise<void> {
    await this.#compacting;
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#compacting;
  }

  /** The oldest segment that is not compacted. The newest segment still grows. */
  #firstRaw(): number {
    const index = this.#segments.findIndex(({ isCompacted }) => !isCompacted);
    return index >= this.#segments.length - 1 ? -1 : index;
  }

  /** Whether sessions that wanted compacted publications have moved or are gone. */
  #mayRepeat(): boolean {
    const { now, lowest } = this.#options;
    if (now() - this.#passedAt < REPEAT_MS) return false;
    const present = lowest();
    const hasMoved = [...this.#passedFor].some(([group, before]) => (present.get(group) ?? Infinity) > before);
    if (hasMoved) for (const segment of this.#segments) segment.isCompacted = false;
    return hasMoved;
  }

  async #compactAll(): Promise<void> {
    const startedAt = performance.now();
    const before = this.bytes;
    // All of it, so that the log is small again: a start reads what is above the lowest place of a session.
    for (let index = this.#firstRaw(); index !== -1; index = this.#firstRaw()) {
      if (this.#isStopped || !this.#options.isFirstNode()) return;
      const stepAt = performance.now();
      await this.#step(index);
      await this.#rest(performance.now() - stepAt);
    }
    if (this.#firstRaw() === -1) {
      this.#passedFor = this.#options.lowest();
      this.#passedAt = this.#options.now();
    }
    const ms = Math.round(performance.now() - startedAt);
    this.#options.logger.info({ before, bytes: this.bytes, ms }, "log of MQTT sessions compacted");
  }

  async #step(index: number): Promise<void> {
    const segment = this.#segments[index];
    if (segment === undefined) return;
    const { log, match, now } = this.#options;
    // Sessions only move forward: what nobody wants now, nobody will want.
    const lowest = this.#options.lowest();
    const open = this.#options.open();
    const isWanted = (publication: LoggedPublication) => {
      const { position } = publication;
      if (open.has(position)) return true;
      if (hasExpired(publication, now)) return false;
      return match(publication).some((group) => (lowest.get(group) ?? Infinity) < position);
    };
    const after = this.#segments[index - 1]?.upTo ?? log.floor;
    await log.compact({ after, upTo: segment.upTo }, isWanted);
    segment.isCompacted = true;
    // A trim may have removed the segment meanwhile.
    const at = this.#segments.indexOf(segment);
    if (at === -1) return;
    const earlier = this.#segments[at - 1];
    if (earlier === undefined || !earlier.isCompacted || earlier.bytes + segment.bytes > this.#segmentBytes) return;
    segment.bytes += earlier.bytes;
    segment.since = earlier.since;
    this.#segments.splice(at - 1, 1);
  }

  async #rest(durationMs: number): Promise<void> {
    const until = performance.now() + MAX_WAIT_MS;
    let added: number;
    do {
      added = this.#added;
      const restMs = Math.max(MIN_REST_MS, REST_FACTOR * durationMs);
      await new Promise((resolve) => setTimeout(resolve, restMs).unref());
    } while (!this.#isStopped && this.#added - added > BURST && performance.now() < until);
  }
}
