import type { Database, WriteSet } from "../../../../platform/level/write-set.ts";
import type { MessageOrigin } from "../../journal.ts";
import { idKey, partsOfSessionKey, rowsOf, sessionKey } from "./keys.ts";
import { type SessionLimits, SessionTable } from "./session-table.ts";

/** The sequence numbers seen of one session of one sender. */
interface Session<Waiting> {
  readonly sender: string;
  readonly name: string;
  /** Its key in the store. */
  readonly key: string;
  /** Whether it is in the table, and after the write under way in the store. */
  isKept: boolean;
  /** Ascending, inclusive, never touching: from, to, from, to … */
  runs: number[];
  /** `runs` before the write under way; undefined when none is. */
  runsBefore: number[] | undefined;
  /** What is not durable yet. */
  readonly waiting: Map<number, Waiting>;
}

/** How a message is recognised: by sequence number, else by id, else not at all. */
export interface DedupKey<Waiting> {
  readonly session: Session<Waiting> | undefined;
  readonly seq: number;
  readonly idKey: string | undefined;
}

interface Deduplicated<Waiting> {
  readonly dedupKey: DedupKey<Waiting> | undefined;
}

type SessionRow = [position: number, ...runs: number[]];

/**
 * What of each sender was seen. A sender that reconnects sends its current state before the backlog it collected
 * meanwhile, so a number below the highest is not a repetition: the numbers themselves are kept, as runs.
 *
 * Where a bound is hit, the oldest knowledge goes: a repetition may then be taken for new, a new message is never
 * taken for a repetition. Ids and sessions belong to their sender: no one can suppress the messages of another, nor, by
 * naming many, make the repetitions of another be forgotten.
 */
export class Deduplicator<Waiting> {
  readonly #sessions: SessionTable<Session<Waiting>>;
  /** Those that are not in the table and have messages that wait, by key. */
  readonly #unstored = new Map<string, Session<Waiting>>();
  readonly #waitingIds = new Map<string, Waiting>();
  readonly #maxSeqRuns: number;
  /** Keys of rows that were too many when they were loaded. */
  #surplusKeys: string[] = [];

  constructor({ maxSeqRuns, ...limits }: SessionLimits & { maxSeqRuns: number }) {
    this.#sessions = new SessionTable(limits);
    this.#maxSeqRuns = maxSeqRuns;
  }

  dedupKeyOf(origin: MessageOrigin): DedupKey<Waiting> | undefined {
    const { sender, session, seq, id } = origin;
    if (session !== undefined && seq !== undefined && Number.isSafeInteger(seq) && seq >= 0)
      return { session: this.#session(sender, session), seq, idKey: undefined };
    return id === undefined ? undefined : { session: undefined, seq: 0, idKey: idKey(sender, id) };
  }

  /** `seen` when the message is durable; else what waits for its being so; undefined when it is new, as far as memory knows. */
  find(dedupKey: DedupKey<Waiting>): "seen" | Waiting | undefined {
    if (dedupKey.session === undefined)
      return dedupKey.idKey === undefined ? undefined : this.#waitingIds.get(dedupKey.idKey);
    return (
      dedupKey.session.waiting.get(dedupKey.seq) ?? (includes(dedupKey.session.runs, dedupKey.seq) ? "seen" : undefined)
    );
  }

  wait(dedupKey: DedupKey<Waiting>, waiting: Waiting): void {
    if (dedupKey.session !== undefined) dedupKey.session.waiting.set(dedupKey.seq, waiting);
    else if (dedupKey.idKey !== undefined) this.#waitingIds.set(dedupKey.idKey, waiting);
  }

  /** The message joins the write under way. */
  writing(dedupKey: DedupKey<Waiting>, position: number, set: WriteSet): void {
    if (dedupKey.session === undefined) {
      if (dedupKey.idKey !== undefined) set.put(dedupKey.idKey, String(position));
      return;
    }
    dedupKey.session.runsBefore ??= dedupKey.session.runs.slice();
    insert(dedupKey.session.runs, dedupKey.seq, this.#maxSeqRuns);
  }

  /** Adds the rows of the sessions of the write under way. */
  putSessions(messages: readonly Deduplicated<Waiting>[], position: number, set: WriteSet): void {
    for (const key of this.#surplusKeys) set.del(key);
    this.#surplusKeys = [];
    const put = new Set<Session<Waiting>>();
    for (const { dedupKey } of messages) {
      const session = dedupKey?.session;
      if (session === undefined || put.has(session)) continue;
      put.add(session);
      set.put(session.key, sessionRow(position, session.runs));
      if (!session.isKept) this.#unstored.delete(session.key);
      session.isKept = true;
      this.#sessions.keep(session.sender, session.name, session);
    }
    for (const session of this.#sessions.trim()) this.#forget(session, set);
  }

  /** The write came to an end; what it held is durable or never was. */
  written(messages: readonly Deduplicated<Waiting>[], kept: boolean): void {
    for (const { dedupKey } of messages) {
      if (dedupKey === undefined) continue;
      if (dedupKey.idKey !== undefined) this.#waitingIds.delete(dedupKey.idKey);
      const { session } = dedupKey;
      if (session === undefined) continue;
      session.waiting.delete(dedupKey.seq);
      if (session.runsBefore !== undefined) {
        if (!kept) session.runs = session.runsBefore;
        session.runsBefore = undefined;
      }
      if (session.runs.length === 0) this.#drop(session);
    }
  }

  /** The row of a session as memory has it, for a store that is in doubt; undefined when there is none. */
  row(key: string, position: number): string | undefined {
    const { sender, name } = partsOfSessionKey(key);
    const session = this.#sessions.get(sender, name);
    return session === undefined || session.runs.length === 0 ? undefined : sessionRow(position, session.runs);
  }

  async load(db: Database): Promise<void> {
    const rows: { key: string; position: number; runs: number[] }[] = [];
    for await (const [key, value] of db.iterator(rowsOf("q"))) {
      const [position, ...runs]: SessionRow = JSON.parse(value);
      rows.push({ key, position, runs });
    }
    rows.sort((a, b) => a.position - b.position);
    for (const { key, runs } of rows) {
      const { sender, name } = partsOfSessionKey(key);
      this.#sessions.keep(sender, name, { ...newSession<Waiting>(sender, name, key), runs, isKept: true });
    }
    this.#surplusKeys = this.#sessions.trim().map(({ key }) => key);
  }

  #session(sender: string, name: string): Session<Waiting> {
    const kept = this.#sessions.get(sender, name);
    if (kept !== undefined) return kept;
    const key = sessionKey(sender, name);
    let unstored = this.#unstored.get(key);
    if (unstored === undefined) {
      unstored = newSession(sender, name, key);
      this.#unstored.set(key, unstored);
    }
    return unstored;
  }

  /** It is out of the table already. */
  #forget(session: Session<Waiting>, set: WriteSet): void {
    set.del(session.key);
    session.isKept = false;
    session.runs = [];
    session.runsBefore = undefined;
    this.#drop(session);
  }

  /** What waits is known all the same. */
  #drop(session: Session<Waiting>): void {
    if (session.isKept) this.#sessions.delete(session.sender, session.name);
    session.isKept = false;
    if (session.waiting.size > 0) this.#unstored.set(session.key, session);
    else this.#unstored.delete(session.key);
  }
}

function newSession<Waiting>(sender: string, name: string, key: string): Session<Waiting> {
  return { sender, name, key, isKept: false, runs: [], runsBefore: undefined, waiting: new Map() };
}

function sessionRow(position: number, runs: readonly number[]): string {
  return `[${position}${runs.length === 0 ? "" : `,${runs.join(",")}`}]`;
}

/** The index of the first run that ends at or above `seq`, times two. */
function runAt(runs: readonly number[], seq: number): number {
  // Nearly always the newest run.
  const end = runs.length;
  if (end === 0 || (runs[end - 1] ?? 0) < seq) return end;
  let low = 0;
  let high = end / 2 - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((runs[2 * middle + 1] ?? 0) < seq) low = middle + 1;
    else high = middle;
  }
  return 2 * low;
}

function includes(runs: readonly number[], seq: number): boolean {
  return (runs[runAt(runs, seq)] ?? Number.POSITIVE_INFINITY) <= seq;
}

function insert(runs: number[], seq: number, maxRuns: number): void {
  const at = runAt(runs, seq);
  if ((runs[at] ?? Number.POSITIVE_INFINITY) <= seq) return;
  const joinsBelow = at > 0 && runs[at - 1] === seq - 1;
  const joinsAbove = runs[at] === seq + 1;
  if (joinsBelow && joinsAbove) runs.splice(at - 1, 2);
  else if (joinsBelow) runs[at - 1] = seq;
  else if (joinsAbove) runs[at] = seq;
  else runs.splice(at, 0, seq, seq);
  if (runs.length > 2 * maxRuns) runs.splice(0, 2);
}
