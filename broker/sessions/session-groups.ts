import { type LoggedPublication, sizeOf } from "../../platform/publication-log.ts";
import { TopicIndex } from "../aedes/topic-index.ts";

/** A group remembers about this many places within the limit of a session. */
const MARKS_PER_LIMIT = 256;

export interface SessionLimits {
  /** The most publications that a session may have behind it. */
  maxMessages: number;
  /** Their largest total size. */
  maxBytes: number;
}

/** A place in the log: of a session, or of a group of shared subscriptions. */
export interface LogCursor {
  /** Everything up to this position was sent at least once, or is not for this cursor. */
  readonly sent: number;
  /** As {@link sent}, for what must stay in the log. Default: the same. */
  readonly settled?: number;
  /** Whether it is offered each publication of its filters, and has nothing behind it. */
  readonly isLive: boolean;
  /** @param qos the QoS of the delivery */
  offer(publication: LoggedPublication, qos: 1 | 2): void;
  /** Passes over publications that were not sent, up to and including the position. */
  skipTo(position: number): void;
}

/** How many publications a group had matched up to a position. */
interface Mark {
  readonly count: number;
  readonly bytes: number;
  readonly position: number;
}

interface GroupFilters {
  readonly filters: ReadonlyMap<string, { readonly qos: 0 | 1 | 2 }>;
  /** Sessions of one group have the same permissions: a name of them, and the check. */
  readonly permissions: string;
  mayRead(topic: string): boolean;
}

/**
 * The sessions with the same filters and permissions. A publication is matched once for all of them, and a session that
 * is away costs nothing: what it has behind it is the difference of two counts.
 */
export class SessionGroup {
  readonly members = new Set<LogCursor>();
  /** The places of sessions that are not live, if they are known exactly. */
  readonly #parked = new Map<LogCursor, Mark>();
  readonly mayRead: (topic: string) => boolean;
  readonly #limits: SessionLimits;
  /** In order of position. The first is below what any session may have behind it. */
  readonly #marks: Mark[] = [];
  #count = 0;
  #bytes = 0;
  /** The position of the newest matched publication. */
  #newest: number;
  /** The position and QoS of the publication that is being matched. */
  matching = 0;
  qos: 0 | 1 | 2 = 0;

  /** @param from the group notes all its publications above this position */
  constructor(mayRead: (topic: string) => boolean, limits: SessionLimits, from: number) {
    this.mayRead = mayRead;
    this.#limits = limits;
    this.#newest = from;
    this.#marks.push({ count: 0, bytes: 0, position: from });
  }

  /** Adds a session. What it has behind it may be of other filters, up to the position `edge`. */
  add(cursor: LogCursor, edge: number): void {
    this.members.add(cursor);
    if (cursor.sent < edge) this.#newest = Math.max(this.#newest, edge);
  }

  /** The session has this much of the group behind it now. Default: nothing. */
  park(cursor: LogCursor, messages = 0, bytes = 0): void {
    this.#parked.set(cursor, {
      count: this.#count - messages,
      bytes: this.#bytes - bytes,
      position: cursor.sent,
    });
  }

  remove(cursor: LogCursor): void {
    this.members.delete(cursor);
    this.#parked.delete(cursor);
  }

  /** Counts a publication of the group. Call this after the publication was offered to the members. */
  note(publication: LoggedPublication): void {
    const { position, reference } = publication;
    const { maxMessages, maxBytes } = this.#limits;
    this.#newest = position;
    // A session that was away gets the newest of these only, which do not count, so that they displace nothing.
    if (reference !== undefined) return;
    this.#count++;
    this.#bytes += sizeOf(publication);
    const newest = this.#marks.at(-1);
    const isFar =
      newest === undefined ||
      (this.#count - newest.count) * MARKS_PER_LIMIT >= maxMessages ||
      (this.#bytes - newest.bytes) * MARKS_PER_LIMIT >= maxBytes;
    if (isFar) this.#marks.push({ count: this.#count, bytes: this.#bytes, position });
    while (this.#marks.length > 2 && this.#exceeds(this.#marks[1])) this.#marks.shift();
  }

  /** Whether the session has nothing of the group behind it. */
  hasNothingFor(cursor: LogCursor): boolean {
    return this.#newest <= cursor.sent;
  }

  /** Exact while the session has not moved since it was live; otherwise by the mark before the session's place. */
  behind(cursor: LogCursor): { messages: number; bytes: number } {
    if (cursor.isLive || this.hasNothingFor(cursor)) return { messages: 0, bytes: 0 };
    const mark = this.#placeOf(cursor);
    return { messages: this.#count - mark.count, bytes: this.#bytes - mark.bytes };
  }

  /** Moves a session that exceeds the limits forward. @returns how many publications it loses, approximate */
  cut(cursor: LogCursor): number {
    if (cursor.isLive) return 0;
    const first = this.#marks[0];
    const before = this.#placeOf(cursor);
    if (first === undefined || !this.#exceeds(before)) return 0;
    const kept = this.#marks.find((mark) => !this.#exceeds(mark)) ?? before;
    if (kept.position <= cursor.sent) return 0;
    cursor.skipTo(kept.position);
    this.#parked.set(cursor, kept);
    return kept.count - before.count;
  }

  /** Moves a session to the position, because publications up to there are removed. @param lost what it had before it */
  lose(cursor: LogCursor, position: number, lost: { messages: number; bytes: number }): void {
    const { count, bytes } = this.#placeOf(cursor);
    cursor.skipTo(position);
    const mark = {
      count: Math.min(this.#count, count + lost.messages),
      bytes: Math.min(this.#bytes, bytes + lost.bytes),
    };
    this.#parked.set(cursor, { ...mark, position: cursor.sent });
  }

  #placeOf(cursor: LogCursor): Mark {
    const parked = this.#parked.get(cursor);
    return parked?.position === cursor.sent ? parked : this.#markBefore(cursor.sent);
  }

  #exceeds(mark: Mark | undefined): boolean {
    if (mark === undefined) return false;
    const { maxMessages, maxBytes } = this.#limits;
    return this.#count - mark.count > maxMessages || this.#bytes - mark.bytes > maxBytes;
  }

  #markBefore(position: number): Mark {
    let low = 0;
    let high = this.#marks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#marks[middle]?.position ?? 0) <= position) low = middle;
      else high = middle - 1;
    }
    return this.#marks[low] ?? { count: 0, bytes: 0, position: 0 };
  }
}

interface IndexEntry {
  readonly group: SessionGroup;
  readonly qos: 1 | 2;
}

/** All groups, by their filters. */
export class SessionGroups {
  readonly #limits: SessionLimits;
  readonly #edge: () => number;
  readonly #groups = new Map<string, { group: SessionGroup; entries: [string, IndexEntry][] }>();
  readonly #keys = new Map<LogCursor, string>();
  readonly #index = new TopicIndex<IndexEntry>();

  constructor(limits: SessionLimits, edge: () => number) {
    this.#limits = limits;
    this.#edge = edge;
  }

  groupOf(cursor: LogCursor): SessionGroup | undefined {
    return this.#groups.get(this.#keys.get(cursor) ?? "")?.group;
  }

  /**
   * The session has these filters and permissions from now on.
   * @param from every publication above this position will be noted. Default: the edge
   */
  place(cursor: LogCursor, { filters, permissions, mayRead }: GroupFilters, from = this.#edge()): void {
    const listed = [...filters].filter(([, { qos }]) => qos > 0).map(([filter, { qos }]) => [filter, qos] as const);
    const key = JSON.stringify([permissions, ...listed.sort(([one], [other]) => (one < other ? -1 : 1))]);
    if (this.#keys.get(cursor) === key) return;
    this.remove(cursor);
    if (listed.length === 0) return;
    let known = this.#groups.get(key);
    if (known === undefined) {
      const group = new SessionGroup(mayRead, this.#limits, from);
      known = { group, entries: [] };
      for (const [filter, qos] of listed) {
        const entry: IndexEntry = { group, qos: qos === 2 ? 2 : 1 };
        known.entries.push([filter, entry]);
        this.#index.add(filter, entry);
      }
      this.#groups.set(key, known);
    }
    known.group.add(cursor, from);
    this.#keys.set(cursor, key);
  }

  remove(cursor: LogCursor): void {
    const key = this.#keys.get(cursor);
    const known = key === undefined ? undefined : this.#groups.get(key);
    this.#keys.delete(cursor);
    if (key === undefined || known === undefined) return;
    known.group.remove(cursor);
    if (known.group.members.size > 0) return;
    for (const [filter, entry] of known.entries) this.#index.remove(filter, entry);
    this.#groups.delete(key);
  }

  /** For each group, the lowest position to which one of its sessions has got. */
  lowest(): Map<SessionGroup, number> {
    const lowest = new Map<SessionGroup, number>();
    for (const { group } of this.#groups.values()) {
      let position = Number.POSITIVE_INFINITY;
      for (const cursor of group.members)
        if (!cursor.isLive) position = Math.min(position, cursor.settled ?? cursor.sent);
      lowest.set(group, position);
    }
    return lowest;
  }

  /** The groups that get the publication, each with the QoS of its deliveries in `qos`. */
  match({ position, topic, qos }: LoggedPublication): SessionGroup[] {
    if (this.#groups.size === 0 || qos === 0) return [];
    const matched: SessionGroup[] = [];
    for (const { group, qos: granted } of this.#index.match(topic)) {
      const delivered = granted < qos ? granted : qos;
      if (group.matching === position) {
        if (delivered > group.qos) group.qos = delivered;
      } else if (group.mayRead(topic)) {
        group.matching = position;
        group.qos = delivered;
        matched.push(group);
      }
    }
    return matched;
  }
}
