import { type Kysely, sql } from "kysely";
import { LINK_GAP_EVENT, linkGapSchema, presenceSchema } from "../../../contract/events.ts";
import { type Places, placesBetween } from "./periods.ts";
import { CAMERA_REACH } from "./rows.ts";
import { placeOf, type Tables } from "./tables.ts";

export interface CoverageQuery {
  camera: string;
  /** Milliseconds since 1970. */
  from: number;
  to: number;
}

export interface SeriesGap {
  /** Milliseconds since 1970. */
  from: number;
  /** Undefined: until now. */
  to?: number;
  /**
   * - `not_kept`: the archive has nothing of the camera from this time.
   * - `trimmed`, `damaged`, `epoch_changed`: the archive lacks events, of any camera.
   * - `dropped`, `missing`: messages of the camera never arrived, as in `link.gap`.
   */
  reason: "not_kept" | "trimmed" | "damaged" | "epoch_changed" | "dropped" | "missing";
  /** The number of lost messages, if known. */
  count?: number;
}

/** From when a status of the camera was in force. */
export interface StatusChange {
  at: number;
  status: string;
}

export interface Coverage {
  /** Oldest first. */
  gaps: SeriesGap[];
  /** Oldest first. The first one may be before the wanted time. */
  statuses: StatusChange[];
}

const PRESENCE_EVENTS = ["online", "offline", "sleeping", "stale", "unknown", "overslept", "never_seen"].map(
  (status) => `camera.${status}`,
);
/** The newest are read. A year of a camera that connects and disconnects every half hour has as many. */
const MAX_STATUSES = 20_000;
const MAX_GAPS = 500;

/** Reads what a series of the camera lacks, and when the camera was connected. */
export async function readCoverage(db: Kysely<Tables>, query: CoverageQuery): Promise<Coverage> {
  const places = await placesBetween(db, query.from, undefined);
  if (places === undefined) return { gaps: [{ from: query.from, to: query.to, reason: "not_kept" }], statuses: [] };
  const gaps = [
    ...(await notKept(db, query)),
    ...(await archiveGaps(db, places)),
    ...(await linkGaps(db, query.camera, places)),
  ];
  const { from, to } = query;
  return {
    gaps: gaps.filter((gap) => gap.from < to && (gap.to ?? to) > from).sort((one, other) => one.from - other.from),
    statuses: await statusesOf(db, query, places),
  };
}

async function notKept(db: Kysely<Tables>, { camera, from }: CoverageQuery): Promise<SeriesGap[]> {
  const oldest = await db
    .selectFrom("archive_events")
    .select("time")
    .where("camera", "=", camera)
    .orderBy("id")
    .limit(1)
    .executeTakeFirst();
  if (oldest === undefined) return [{ from, reason: "not_kept" }];
  return oldest.time > from ? [{ from, to: oldest.time, reason: "not_kept" }] : [];
}

/** A gap of the archive lies between the times of its neighbours. */
async function archiveGaps(db: Kysely<Tables>, { first }: Places): Promise<SeriesGap[]> {
  const rows = await db
    .selectFrom("archive_gaps as g")
    .select((e) => [
      ...(["g.id", "g.epoch", "g.after", "g.before", "g.reason", "g.noticed_at"] as const),
      e
        .selectFrom("archive_events as e")
        .select("e.time")
        .whereRef("e.id", ">=", "g.id")
        .orderBy("e.id")
        .limit(1)
        .as("next_time"),
    ])
    .where("g.id", ">=", first)
    .orderBy("g.id", "desc")
    .limit(MAX_GAPS)
    .execute();
  const gaps: SeriesGap[] = [];
  for (const { epoch, after, before, reason, noticed_at, next_time } of rows) {
    const previous = await db
      .selectFrom("archive_events")
      .select("time")
      .where("id", "<=", placeOf(epoch, after))
      .orderBy("id", "desc")
      .limit(1)
      .executeTakeFirst();
    const to = next_time === null ? {} : { to: next_time };
    const count = before === null ? {} : { count: before - after - 1 };
    gaps.push({ from: previous?.time ?? noticed_at, ...to, reason, ...count });
  }
  return gaps;
}

async function linkGaps(db: Kysely<Tables>, camera: string, { first }: Places): Promise<SeriesGap[]> {
  const rows = await ownEvents(db, camera)
    .where("event", "=", LINK_GAP_EVENT)
    .where("id", ">=", first)
    .orderBy("id", "desc")
    .limit(MAX_GAPS)
    .execute();
  const gaps = new Map<string, SeriesGap>();
  for (const { body } of rows.reverse()) {
    const gap = linkGapSchema.safeParse(JSON.parse(body).data).data;
    if (gap === undefined) continue;
    const { reason, count, session = "", first_seq = 0 } = gap;
    const [from, to] = [Date.parse(gap.from), Date.parse(gap.to)];
    const key = `${reason} ${session} ${first_seq} ${first_seq === 0 ? from : ""}`;
    if (gap.filled === true) gaps.delete(key);
    else gaps.set(key, { from, to, reason, count });
  }
  return [...gaps.values()];
}

async function statusesOf(db: Kysely<Tables>, { camera }: CoverageQuery, { first }: Places): Promise<StatusChange[]> {
  const rows = await ownEvents(db, camera)
    .where("event", "in", PRESENCE_EVENTS)
    .where("id", ">=", first)
    .orderBy("id", "desc")
    .limit(MAX_STATUSES)
    .execute();
  // The status at the begin. One look-up for each event name: together, they would read the whole history of the camera.
  const before = [];
  if (rows.length < MAX_STATUSES)
    for (const event of PRESENCE_EVENTS)
      before.push(
        ...(await ownEvents(db, camera)
          .where("event", "=", event)
          .where("id", "<", first)
          .orderBy("id", "desc")
          .limit(1)
          .execute()),
      );
  before.sort((one, other) => one.id - other.id);
  return [...before.slice(-1), ...rows.reverse()].flatMap(({ body }) => {
    const presence = presenceSchema.safeParse(JSON.parse(body).data).data;
    return presence === undefined ? [] : { at: Date.parse(presence.since), status: presence.status };
  });
}

function ownEvents(db: Kysely<Tables>, camera: string) {
  return db
    .selectFrom("archive_events")
    .select(["id", "body"])
    .where("camera", "=", camera)
    .where(sql<boolean>`(reach & ${sql.lit(CAMERA_REACH)}) <> 0`);
}
