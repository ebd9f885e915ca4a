import type { Database, WriteSet } from "../../../../platform/level/write-set.ts";
import type { MessageOrigin } from "../../journal.ts";
import { idKey, partsOfSessionKey, rowsOf, sessionKey } from "./keys.ts";
import { type SessionLimits, SessionTable } from "./session-table.ts";

/** The sequence numbers received in one session of one sender. */
interface Session<Waiting> {
  readonly sender: string;
  readonly name: string;
  readonly key: string;
  /** Whether the session is in the table, and after the current write also in the store. */
  isKept: boolean;
  /** Ranges of sequence numbers: from, to, from, to … Both ends are inclusive. Ranges are ascending and never touch. */
  ranges: number[];
  /** `ranges` before the current write; undefined when this write does not change the session. */
  rangesBefore: number[] | undefined;
  readonly waiting: Map<number, Waiting>;
}

/** Identifies a message: by session and sequence number if it has both, else by id. */
export interface DedupKey<Waiting> {
  readonly session: Session<Waiting> | undefined;
  readonly seq: number;
  readonly idKey: string | undefined;
}

interface Deduplicated<Waiting> {
  readonly dedupKey: DedupKey<Waiting> | undefined;
}

type SessionRow = [position: number, ...ranges: number[]];

/**
 * Detects duplicate messages. After a reconnect a sender sends its current state before its backlog, so a sequence
 * number below the highest one may be new. Therefore all received numbers of a session are kept, as ranges.
 *
 * When a limit is reached, the oldest data is evicted. A duplicate may then be accepted as new, but a new message is
 * never rejected as a duplicate. Ids and sessions belong to a sender, so no sender can suppress another's messages.
 */
export class Deduplicator<Waiting> {
  readonly #sessions: SessionTable<Session<Waiting>>;
  /** Sessions that are not in the table but have waiting messages, by key. */
  readonly #unstored = new Map<string, Session<Waiting>>();
  readonly #waitingIds = new Map<string, Waiting>();
  readonly #maxSeqRanges: number;
  /** Keys of rows that exceeded the limits when they were loaded. The next write deletes them. */
  #surplusKeys: string[] = [];

  constructor({ maxSeqRanges, ...limits }: SessionLimits & { maxSeqRanges: number }) {
    this.#sessions = new SessionTable(limits);
    this.#maxSeqRanges = maxSeqRanges;
  }

  dedupKeyOf(origin: MessageOrigin): DedupKey<Waiting> | undefined {
    const { sender, session, seq, id } = origin;
    if (session !== undefined && seq !== undefined && Number.isSafeInteger(seq) && seq >= 0)
      return { session: this.#session(sender, session), seq, idKey: undefined };
    return id === undefined ? undefined : { session: undefined, seq: 0, idKey: idKey(sender, id) };
  }

  /** Finds an earlier copy of the message in memory: `durable`, or the append that waits. */
  find(dedupKey: DedupKey<Waiting>): "durable" | Waiting | undefined {
    if (dedupKey.session === undefined)
      return dedupKey.idKey === undefined ? undefined : this.#waitingIds.get(dedupKey.idKey);
    return (
      dedupKey.session.waiting.get(dedupKey.seq) ??
      (includes(dedupKey.session.ranges, dedupKey.seq) ? "durable" : undefined)
    );
  }

  wait(dedupKey: DedupKey<Waiting>, waiting: Waiting): void {
    if (dedupKey.session !== undefined) dedupKey.session.waiting.set(dedupKey.seq, waiting);
    else if (dedupKey.idKey !== undefined) this.#waitingIds.set(dedupKey.idKey, waiting);
  }

  writing(dedupKey: DedupKey<Waiting>, position: number, set: WriteSet): void {
    if (dedupKey.session === undefined) {
      if (dedupKey.idKey !== undefined) set.put(dedupKey.idKey, String(position));
      return;
    }
    dedupKey.session.rangesBefore ??= dedupKey.session.ranges.slice();
    insert(dedupKey.session.ranges, dedupKey.seq, this.#maxSeqRanges);
  }

  /** Adds the rows of the messages' sessions to the current write. */
  putSessions(messages: readonly Deduplicated<Waiting>[], position: number, set: WriteSet): void {
    for (const key of this.#surplusKeys) set.del(key);
    this.#surplusKeys = [];
    const put = new Set<Session<Waiting>>();
    for (const { dedupKey } of messages) {
      const session = dedupKey?.session;
      if (session === undefined || put.has(session)) continue;
      put.add(session);
      set.put(session.key, sessionRow(position, session.ranges));
      if (!session.isKept) this.#unstored.delete(session.key);
      session.isKept = true;
      this.#sessions.keep(session.sender, session.name, session);
    }
    for (const session of this.#sessions.trim()) this.#evict(session, set);
  }

  /** Notes the end of the messages' write. @param isDurable false when the write failed */
  written(messages: readonly Deduplicated<Waiting>[], isDurable: boolean): void {
    for (const { dedupKey } of messages) {
      if (dedupKey === undefined) continue;
      if (dedupKey.idKey !== undefined) this.#waitingIds.delete(dedupKey.idKey);
      const { session } = dedupKey;
      if (session === undefined) continue;
      session.waiting.delete(dedupKey.seq);
      if (session.rangesBefore !== undefined) {
        if (!isDurable) session.ranges = session.rangesBefore;
        session.rangesBefore = undefined;
      }
      if (session.ranges.length === 0) this.#drop(session);
    }
  }

  /** The correct row of a session after a failed write; undefined when the store must have no such row. */
  row(key: string, position: number): string | undefined {
    const { sender, name } = partsOfSessionKey(key);
    const session = this.#sessions.get(sender, name);
    return session === undefined || session.ranges.length === 0 ? undefined : sessionRow(position, session.ranges);
  }

  async load(db: Database): Promise<void> {
    const rows: { key: string; position: number; ranges: number[] }[] = [];
    for await (const [key, value] of db.iterator(rowsOf("q"))) {
      const [position, ...ranges]: SessionRow = JSON.parse(value);
      rows.push({ key, position, ranges });
    }
    rows.sort((a, b) => a.position - b.position);
    for (const { key, ranges } of rows) {
      const { sender, name } = partsOfSessionKey(key);
      this.#sessions.keep(sender, name, { ...newSession<Waiting>(sender, name, key), ranges, isKept: true });
    }
    this.#surplusKeys = this.#sessions.trim().map(({ key }) => key);
  }

  #session(sender: string, name: string): Session<Waiting> {
    const kept = this.#sessions.get(sender, name);
    if (kept !== undefined) return kept;
    const key = sessionKey(sender, name);
    const unstored = this.#unstored.get(key) ?? newSession<Waiting>(sender, name, key);
    this.#unstored.set(key, unstored);
    return unstored;
  }

  #evict(session: Session<Waiting>, set: WriteSet): void {
    set.del(session.key);
    session.isKept = false;
    session.ranges = [];
    session.rangesBefore = undefined;
    this.#drop(session);
  }

  /** Removes the session from the table. Its waiting messages remain known. */
  #drop(session: Session<Waiting>): void {
    if (session.isKept) this.#sessions.delete(session.sender, session.name);
    session.isKept = false;
    if (session.waiting.size > 0) this.#unstored.set(session.key, session);
    else this.#unstored.delete(session.key);
  }
}

function newSession<Waiting>(sender: string, name: string, key: string): Session<Waiting> {
  return { sender, name, key, isKept: false, ranges: [], rangesBefore: undefined, waiting: new Map() };
}

function sessionRow(position: number, ranges: readonly number[]): string {
  return `[${position}${ranges.length === 0 ? "" : `,${ranges.join(",")}`}]`;
}

/** The index in `ranges`, which has two numbers per range, of the first range that ends at or above `seq`. */
function rangeAt(ranges: readonly number[], seq: number): number {
  // A new number is nearly always above the newest range.
  const end = ranges.length;
  if (end === 0 || (ranges[end - 1] ?? 0) < seq) return end;
  let low = 0;
  let high = end / 2 - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ranges[2 * middle + 1] ?? 0) < seq) low = middle + 1;
    else high = middle;
  }
  return 2 * low;
}

function includes(ranges: readonly number[], seq: number): boolean {
  return (ranges[rangeAt(ranges, seq)] ?? Number.POSITIVE_INFINITY) <= seq;
}

function insert(ranges: number[], seq: number, maxRanges: number): void {
  const at = rangeAt(ranges, seq);
  if ((ranges[at] ?? Number.POSITIVE_INFINITY) <= seq) return;
  const joinsBelow = at > 0 && ranges[at - 1] === seq - 1;
  const joinsAbove = ranges[at] === seq + 1;
  if (joinsBelow && joinsAbove) ranges.splice(at - 1, 2);
  else if (joinsBelow) ranges[at - 1] = seq;
  else if (joinsAbove) ranges[at] = seq;
  else ranges.splice(at, 0, seq, seq);
  if (ranges.length > 2 * maxRanges) ranges.splice(0, 2);
}
