import { type Expression, type ExpressionBuilder, type Kysely, type SqlBool, sql } from "kysely";
import type { ArchiveAccess } from "./access.ts";
import type { Kind } from "./kinds.ts";
import { type Engine, POSTGRES_WORDS } from "./migrations.ts";
import { type Places, placesBetween } from "./periods.ts";
import { CAMERA_REACH, REACH } from "./rows.ts";
import type { GapRow, Tables } from "./tables.ts";

export interface ArchiveQuery {
  access: ArchiveAccess;
  kind?: Kind | undefined;
  camera?: string | undefined;
  event?: string | undefined;
  /** The id of a job or command. */
  subject?: string | undefined;
  /** The times of acceptance, milliseconds since 1970, both inclusive. */
  from?: number | undefined;
  to?: number | undefined;
  /** The event has all these words. In the form of `searchWordsOf`. */
  words?: readonly string[] | undefined;
  /** Only events before this place, which is `next` of the previous page. */
  before?: number | undefined;
  limit: number;
}

export interface ArchivedEvent {
  epoch: string;
  position: number;
  /** Milliseconds since 1970. */
  time: number;
  kind: Kind;
  camera: string | null;
  /** JSON text. */
  body: string;
}

export interface ArchivePage {
  /** Newest first. */
  events: readonly ArchivedEvent[];
  /** The gaps between these events and, on the last page, before them. Newest first. */
  gaps: readonly ArchivedGap[];
  /** The cursor of the next page; undefined on the last page. */
  next: number | undefined;
}

export type ArchivedGap = Pick<GapRow, "after" | "before" | "reason" | "noticed_at"> & { epoch: string };

/** More cameras than this are not looked up one by one. */
const MAX_CAMERA_BRANCHES = 100;
const MAX_PAGE_GAPS = 100;
/** A page ends early after this many characters of events. */
const MAX_PAGE_CHARS = 1_048_576;
const ROWS_PER_READ = 100;
const ROWS_WITHOUT_WORD_INDEX = 5_000;

type Events = ExpressionBuilder<Tables & { e: Tables["archive_events"] }, "e">;

/** Reads a page, newest first. */
export async function readPage(db: Kysely<Tables>, engine: Engine, query: ArchiveQuery): Promise<ArchivePage> {
  const bounds = await boundsOf(db, query);
  const { rows, following } = bounds === undefined ? NO_ROWS : await readRows(db, engine, query, bounds);
  const next = following === undefined ? undefined : rows.at(-1)?.id;
  // The previous page has already reported the gaps after the first event of this page.
  const top = query.before === undefined ? bounds?.last : (rows[0]?.id ?? bounds?.last);
  const gaps = await db
    .selectFrom("archive_gaps")
    .select(["epoch", "after", "before", "reason", "noticed_at"])
    .where("id", ">", following ?? (bounds?.first ?? 1) - 1)
    .where("id", "<=", top ?? Number.MAX_SAFE_INTEGER)
    .orderBy("id", "desc")
    .limit(MAX_PAGE_GAPS)
    .execute();
  const epochs = await db.selectFrom("archive_epochs").select(["number", "name"]).execute();
  const names = new Map(epochs.map(({ number, name }) => [number, name]));
  const named = <Row extends { epoch: number }>(row: Row) => ({ ...row, epoch: names.get(row.epoch) ?? "" });
  return { events: rows.map(({ id: _, ...event }) => named(event)), gaps: gaps.map(named), next };
}

const ROW = ["e.id", "e.epoch", "e.position", "e.time", "e.kind", "e.camera", "e.body"] as const;
type Row = Pick<Tables["archive_events"], "id" | "epoch" | "position" | "time" | "kind" | "camera" | "body">;

interface FoundRows {
  rows: readonly Row[];
  /** The place of the first row after the page; undefined if there is none. */
  following: number | undefined;
}

const NO_ROWS: FoundRows = { rows: [], following: undefined };

/** Reads the rows of a page in parts, so that a thousand large events are never in memory at once. */
async function readRows(db: Kysely<Tables>, engine: Engine, query: ArchiveQuery, bounds: Places): Promise<FoundRows> {
  const rows: Row[] = [];
  let chars = 0;
  for (let { last } = bounds; ; ) {
    const limit = Math.min(query.limit - rows.length, ROWS_PER_READ);
    const found = await firstRows(db, engine, { ...query, limit }, { ...bounds, last });
    const following = found.splice(limit)[0]?.id;
    for (const row of found) {
      if (chars > MAX_PAGE_CHARS) return { rows, following: row.id };
      chars += row.body.length;
      rows.push(row);
    }
    if (following === undefined || rows.length >= query.limit) return { rows, following };
    last = following;
  }
}

/**
 * Returns the first rows of a query: if possible, one row more than its limit. The word index of PostgreSQL does not
 * return rows in order. So the newest events, or those of the camera, are read without this index, which is faster for
 * a common word. The index then finds the other rows, which is faster for a rare word.
 */
async function firstRows(db: Kysely<Tables>, engine: Engine, query: ArchiveQuery, bounds: Places): Promise<Row[]> {
  const { camera, words = [] } = query;
  if (engine === "sqlite" || words.length === 0) return await eventsQuery(db, engine, query, bounds).execute();
  let all = db.selectFrom("archive_events as e").where("e.id", "<=", bounds.last).where("e.id", ">=", bounds.first);
  if (camera !== undefined) all = all.where("e.camera", "=", camera);
  all = all.orderBy("e.id", "desc");
  // The limit keeps the planner from moving the other conditions, which it believes to be rare, into the subquery.
  const newest = all.selectAll().limit(ROWS_WITHOUT_WORD_INDEX).as("e");
  const rows: Row[] = await db
    .selectFrom(newest)
    .select(ROW)
    .where((e) => matches(e, query))
    .where(hasWords(words))
    .orderBy("e.id", "desc")
    .limit(query.limit + 1)
    .execute();
  const limit = query.limit - rows.length;
  if (limit < 0) return rows;
  const border = await all.select("e.id").limit(1).offset(ROWS_WITHOUT_WORD_INDEX).executeTakeFirst();
  if (border === undefined) return rows;
  const rest = eventsQuery(db, engine, { ...query, limit }, { ...bounds, last: border.id });
  // No index has the order `e.id + 0`, so the planner uses the word index.
  return [...rows, ...(await rest.clearOrderBy().orderBy(sql`e.id + 0`, "desc").execute())];
}

/** The condition that the event has all these words, for PostgreSQL. */
function hasWords(words: readonly string[]) {
  const wanted = words
    .map((word) => word.replace(/([^*]+)(\*?)/, (_, plain, star) => `'${plain}'${star && ":*"}`))
    .join(" & ");
  return sql<boolean>`words <> '' and ${POSTGRES_WORDS} @@ ${wanted}::tsquery`;
}

/** The places between which the page's events are; undefined if no event was accepted in the wanted time. */
async function boundsOf(db: Kysely<Tables>, { from, to, before }: ArchiveQuery): Promise<Places | undefined> {
  const last = (before ?? Number.MAX_SAFE_INTEGER) - 1;
  if (from === undefined && to === undefined) return { first: 0, last };
  const found = await placesBetween(db, from, to);
  return found && { first: found.first, last: Math.min(found.last, last) };
}

/** The query of a page, with one event more than the page has. */
export function eventsQuery(db: Kysely<Tables>, engine: Engine, query: ArchiveQuery, bounds: Places) {
  const size = query.limit + 1;
  const events = db.selectFrom("archive_events as e").select(ROW).limit(size);
  const { words = [] } = query;
  if (words.length > 0) {
    // SQLite reads the rows of its full-text index in order, so that the first ones are enough.
    if (engine === "sqlite")
      return events
        .innerJoin("archive_words as w", "w.rowid", "e.id")
        .where(sql<boolean>`archive_words match ${words.map((word) => word.replace(/[^*]+/, '"$&"')).join(" AND ")}`)
        .where("w.rowid", ">=", bounds.first)
        .where("w.rowid", "<=", bounds.last)
        .where((e) => matches(e, query))
        .orderBy("w.rowid", "desc");
    return events
      .where((e) => within(e, query, bounds))
      .where(hasWords(words))
      .orderBy("e.id", "desc");
  }
  const cameras = query.camera === undefined ? camerasOf(query.access) : undefined;
  if (cameras === undefined || cameras.length > MAX_CAMERA_BRANCHES)
    return events.where((e) => within(e, query, bounds)).orderBy("e.id", "desc");
  // One look-up for each camera: a reader of one quiet camera must not read through the events of all others.
  const branches = cameras.map((camera) =>
    db
      .selectFrom(
        db
          .selectFrom("archive_events as e")
          .select("e.id")
          .where((e) => within(e, query, bounds))
          .where("e.camera", camera === null ? "is" : "=", camera)
          .orderBy("e.id", "desc")
          .limit(size)
          .as("branch"),
      )
      .select("branch.id"),
  );
  const [first, ...others] = branches;
  if (first === undefined) return events.where(sql<boolean>`1 = 0`);
  const ids = others.reduce((all, one) => all.unionAll(one), first);
  return events.where("e.id", "in", ids).orderBy("e.id", "desc");
}

/** The cameras whose events the reader sees, null for events of no camera; undefined if they cannot be listed. */
function camerasOf(access: ArchiveAccess): (string | null)[] | undefined {
  if (access === "all") return undefined;
  if ("ofCameras" in access) return [...access.ofCameras];
  const { builtIn, onlyCameras, cameras, custom } = access;
  if (custom.length > 0 || cameras === "all" || (builtIn.length > 0 && onlyCameras === undefined)) return undefined;
  return builtIn.length > 0 ? [...new Set([...(onlyCameras ?? []), ...cameras]), null] : [...cameras];
}

function within(e: Events, query: ArchiveQuery, { first, last }: Places): Expression<SqlBool> {
  return e.and([e("e.id", ">=", first), e("e.id", "<=", last), matches(e, query)]);
}

function matches(e: Events, { kind, camera, event, subject, from, to, access }: ArchiveQuery): Expression<SqlBool> {
  const all: Expression<SqlBool>[] = [];
  if (kind !== undefined) all.push(e("e.kind", "=", kind));
  if (camera !== undefined) all.push(e("e.camera", "=", camera));
  if (event !== undefined) all.push(e("e.event", "=", event));
  if (subject !== undefined) all.push(e("e.subject", "=", subject));
  if (from !== undefined) all.push(e("e.time", ">=", from));
  if (to !== undefined) all.push(e("e.time", "<=", to));
  const visible = visibleTo(e, access);
  if (visible !== undefined) all.push(visible);
  return e.and(all);
}

/** The condition for events that the reader may see; undefined: all. */
function visibleTo(e: Events, access: ArchiveAccess): Expression<SqlBool> | undefined {
  if (access === "all") return undefined;
  if ("ofCameras" in access) return oneOf(e, access.ofCameras);
  const { builtIn, onlyCameras, cameras, custom } = access;
  const any: Expression<SqlBool>[] = [];
  const bits = builtIn.reduce((sum, channel) => sum | (REACH[channel] ?? 0), 0);
  if (bits !== 0) {
    const narrowed = onlyCameras === undefined ? [] : [e.or([e("e.camera", "is", null), oneOf(e, onlyCameras)])];
    any.push(e.and([sql<SqlBool>`(e.reach & ${sql.lit(bits)}) <> 0`, ...narrowed]));
  }
  const ofCamera = sql<SqlBool>`(e.reach & ${sql.lit(CAMERA_REACH)}) <> 0`;
  if (cameras === "all") any.push(ofCamera);
  else if (cameras.length > 0) any.push(e.and([ofCamera, oneOf(e, cameras)]));
  for (const channel of custom) any.push(e("e.channels", "like", `% ${channel} %`));
  return e.or(any);
}

function oneOf(e: Events, cameras: readonly string[]): Expression<SqlBool> {
  return cameras.length === 0 ? sql<SqlBool>`1 = 0` : e("e.camera", "in", cameras);
}
