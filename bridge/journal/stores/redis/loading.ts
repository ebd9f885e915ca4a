import { randomBytes } from "node:crypto";
import { StoreUnavailableError } from "../../../../platform/errors.ts";
import type { Connection } from "../../../../platform/redis/connection.ts";
import { partsOf } from "../../../../platform/redis/reply.ts";
import { PublicationRows } from "../../core/publication-rows.ts";
import type { Entry, StateEntry } from "../../journal.ts";
import { CHUNKS_PER_READ, type Chunk, decodeEntries, entriesOf, readChunk, stampOf } from "./chunk.ts";
import type { JournalKeys } from "./keys.ts";
import type { RedisJournalLimits } from "./limits.ts";
import { RedisView } from "./redis-view.ts";
import { OPEN, RENEW } from "./scripts.ts";

export interface Loaded {
  view: RedisView;
  /** The id of the last trim that is in the view. */
  trimsId: string;
  /** Channels that keep more than `retentionEvents` entries, because that limit was lowered. */
  excess: string[];
}

/** Fields of a hash per read: Redis needs a few milliseconds. */
const FIELDS_PER_READ = 1_000;
/** The largest number of attempts to load the journal. An attempt fails when the journal changes meanwhile. */
const MAX_ATTEMPTS = 5;

function newEpoch(): string {
  return randomBytes(9).toString("base64url");
}

/**
 * Begins a new epoch after Redis lost entries: the cursors of clients may now name other entries.
 * @param shared the position up to which the entries are those of the epoch. Default: nobody knows
 */
export async function renewEpoch(
  connection: Connection,
  keys: JournalKeys,
  epoch: string,
  shared?: number,
): Promise<void> {
  await connection.run(RENEW, keys.meta, [keys.prefix, epoch, newEpoch(), shared ?? ""]);
}

/** @param field the epoch to which the field belongs, then epochs and positions */
function readOrigins(field: string, epoch: string): ReadonlyMap<string, number> {
  const [of, ...names] = field.split(" ");
  const origins = new Map<string, number>();
  if (of !== epoch) return origins;
  for (let at = 0; at + 1 < names.length; at += 2) origins.set(names[at] ?? "", Number(names[at + 1]));
  return origins;
}

/**
 * Loads a view of the journal, while other nodes keep writing. First it reads the head, then the floors and the state,
 * which may be newer than that head. Then it reads the log from the head on, so that all parts are as of one position.
 * @throws {StoreUnavailableError} Redis cannot be read, or the journal keeps changing
 */
export async function load(
  connection: Connection,
  keys: JournalKeys,
  limits: RedisJournalLimits,
  retentionEvents: number,
): Promise<Loaded> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const opened = partsOf(await connection.run(OPEN, keys.meta, [keys.prefix, newEpoch()])).map(String);
    const [epoch = "", head = "", stamp = "", forgottenFloor = "", published = "", publishedBytes = ""] = opened;
    const publications = new PublicationRows(Number(published), Number(publishedBytes));
    const origins = readOrigins(opened[6] ?? "", epoch);
    const start = { epoch, origins, head: Number(head), stamp, forgottenFloor: Number(forgottenFloor), publications };
    const view = new RedisView(start, limits);
    const trimsId = await lastTrim(connection, keys);
    const excess = await loadChannels(connection, keys, view, retentionEvents);
    await loadStates(connection, keys, view);
    if (await catchUp(connection, keys, view)) return { view, trimsId, excess };
  }
  throw new StoreUnavailableError("the journal in Redis kept changing while it was loaded");
}

async function lastTrim(connection: Connection, keys: JournalKeys): Promise<string> {
  const [newest] = await connection.do((redis) => redis.xrevrange(keys.trims, "+", "-", "COUNT", 1));
  return newest?.[0] ?? "0-0";
}

async function loadChannels(
  connection: Connection,
  keys: JournalKeys,
  { channels }: RedisView,
  retentionEvents: number,
): Promise<string[]> {
  const excess: string[] = [];
  await scan(connection, keys.kept, (name, kept) => {
    channels.add(name.toString());
    if (Number(kept) > retentionEvents) excess.push(name.toString());
  });
  await scan(connection, keys.floors, (name, floor) => channels.raise(name.toString(), Number(floor)));
  return excess;
}

async function loadStates(connection: Connection, keys: JournalKeys, { states }: RedisView): Promise<void> {
  const found: StateEntry[] = [];
  await scan(connection, keys.state, (_topic, value) => {
    if (!states.fits(value)) return;
    const entry = readState(value.toString());
    if (entry !== undefined) found.push(entry);
  });
  states.load(found);
}

/** Parses `{position} {acceptedAt}`, a line feed, and the entry as in a chunk. */
function readState(value: string): StateEntry | undefined {
  const end = value.indexOf("\n");
  const [position, acceptedAt] = value.slice(0, end).split(" ").map(Number);
  const [entry] = decodeEntries(value.slice(end + 1), (position ?? 0) - 1, acceptedAt ?? 0);
  if (entry === undefined) return undefined;
  const { state, ...rest } = entry;
  return rest;
}

async function scan(connection: Connection, key: string, onField: (name: Buffer, value: Buffer) => void) {
  let cursor = "0";
  do {
    const from: string = cursor;
    const [next, fields] = await connection.do((redis) => redis.hscanBuffer(key, from, "COUNT", FIELDS_PER_READ));
    for (let index = 0; index + 1 < fields.length; index += 2) {
      const name = fields[index];
      const value = fields[index + 1];
      if (name !== undefined && value !== undefined) onField(name, value);
    }
    cursor = next.toString();
  } while (cursor !== "0");
}

/** Applies the log up to the newest position. @returns false when the log is not continuous */
async function catchUp(connection: Connection, keys: JournalKeys, view: RedisView): Promise<boolean> {
  const [epoch, head, floor, trimmedBytes] = await connection.do((redis) =>
    redis.hmget(keys.meta, "epoch", "head", "publicationFloor", "trimmedBytes"),
  );
  if (epoch !== view.epoch) return false;
  view.publications.trimmed(Number(floor), Number(trimmedBytes));
  while (view.head < Number(head)) {
    const chunks = await readLog(connection, keys, view.head);
    if (chunks.length === 0) return false;
    for (const chunk of chunks) {
      if (chunk.base !== view.head || chunk.previous !== view.stamp) return false;
      view.applyChunks(entriesOf(chunk), stampOf(chunk));
      view.publications.add(view.head, chunk.publicationBytes);
    }
  }
  return true;
}

/** Entries that are passed on after a reload at most. */
const MAX_MISSED_ENTRIES = 10_000;

/** The newest entries above the position, up to the head of the view, that the log still has. @throws {StoreUnavailableError} */
export async function missedEntries(
  connection: Connection,
  keys: JournalKeys,
  after: number,
  { head }: RedisView,
): Promise<Entry[]> {
  const missed: Entry[] = [];
  for (let at = Math.max(after, head - MAX_MISSED_ENTRIES); at < head; ) {
    const chunks = await readLog(connection, keys, at);
    for (const chunk of chunks) for (const entry of entriesOf(chunk)) if (entry.position <= head) missed.push(entry);
    const last = chunks.at(-1);
    if (last === undefined) break;
    at = last.base + last.size;
  }
  return missed;
}

async function readLog(connection: Connection, keys: JournalKeys, after: number): Promise<Chunk[]> {
  const rows = await connection.do((redis) =>
    redis.xrangeBuffer(keys.log, `(${after}-0`, "+", "COUNT", CHUNKS_PER_READ),
  );
  return rows.map(([id, fields]) => readChunk(id, fields));
}
