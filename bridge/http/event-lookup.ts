import type { Grants } from "../../contract/permissions.ts";
import { shows } from "../delivery/channel-filter.ts";
import { ArchiveUnavailableError, type Kind, kindOf } from "../journal/archive/archive.ts";
import type { Entry } from "../journal/journal.ts";
import { timeOfUlid } from "../previews/capture-time.ts";
import { notFound } from "./errors.ts";
import type { Services } from "./services.ts";

/** An event of the journal or the archive. */
export interface LookedUpEvent {
  epoch: string;
  position: number;
  /** Milliseconds since 1970. */
  acceptedAt: number;
  kind: Kind;
  camera: string | undefined;
  channels: readonly string[];
  body: EventBody;
  /** The key of its row in the archive; undefined: no row was found. */
  row: number | undefined;
}

interface EventBody {
  event: string;
  data?: unknown;
  timestamp: string;
  id?: string;
  topic?: string;
  historical?: boolean;
}

/** How many of the newest events of the journal are searched: the journal has no index of ids. */
const SEARCHED_EVENTS = 20_000;
const PAGE = { maxEvents: 1_000, maxBytes: 1_048_576 };

type LookupServices = Pick<Services, "archive" | "journal" | "tree">;

/**
 * Finds the newest event with a sender's id that the caller may read: in the archive, else among the newest events of
 * the journal.
 * @throws {RequestError} 404, whose message says where was searched
 */
export async function lookUpEvent(services: LookupServices, id: string, grants: Grants): Promise<LookedUpEvent> {
  const archived = await searchArchive(services, id);
  const found = archived.events.find((event) => mayRead(grants, event));
  if (found !== undefined) return found;
  const recent = await searchJournal(services, id);
  const entry = recent.events.find((event) => mayRead(grants, event));
  if (entry !== undefined) return entry;
  throw notFound(
    [
      `There is no event with the id ${JSON.stringify(id)} that this token may read`,
      ...archived.trouble,
      ...removedHint(id, archived.oldestAt ?? recent.oldestAt),
    ].join(". "),
  );
}

interface Search {
  /** Newest first. */
  events: readonly LookedUpEvent[];
  /** When the oldest searched event was accepted, milliseconds since 1970. */
  oldestAt: number | undefined;
}

async function searchArchive({ archive }: LookupServices, id: string): Promise<Search & { trouble: string[] }> {
  try {
    const { events, oldestAt } = await archive.find(id);
    const found = events.map(({ time: acceptedAt, camera, body, ...event }) => {
      return { ...event, acceptedAt, camera: camera ?? undefined, body: JSON.parse(body) };
    });
    return { events: found, oldestAt, trouble: [] };
  } catch (error) {
    if (!(error instanceof ArchiveUnavailableError)) throw error;
    const why = error.isOff ? "The archive is off (set ARCHIVE=on)" : "The archive does not answer now";
    const trouble = [`${why}, so only the newest ${SEARCHED_EVENTS} events of the journal were searched`];
    return { events: [], oldestAt: undefined, trouble };
  }
}

async function searchJournal({ journal, tree }: LookupServices, id: string): Promise<Search> {
  const { epoch, head } = journal;
  const member = `"id":"${id}"`;
  const found: LookedUpEvent[] = [];
  let oldestAt: number | undefined;
  for (let after = Math.max(0, head - SEARCHED_EVENTS); after < head; ) {
    const { entries, next } = await journal.read({ after, ...PAGE });
    oldestAt ??= entries[0]?.acceptedAt;
    for (const { body, topic, ...entry } of entries) {
      if (!body.includes(member)) continue;
      const parsed: EventBody = JSON.parse(`{${body}}`);
      if (parsed.id !== id) continue;
      found.unshift({ ...entry, epoch, kind: kindOf(tree.parse(topic)), body: parsed, row: undefined });
    }
    if (next <= after) break;
    after = next;
  }
  return { events: found, oldestAt };
}

/** A ULID contains the time when it was made. This time may show that the event is older than all kept events. */
function removedHint(id: string, oldestAt: number | undefined): string[] {
  const madeAt = timeOfUlid(id.toLowerCase());
  if (madeAt === undefined || oldestAt === undefined || madeAt >= oldestAt) return [];
  const [made, oldest] = [new Date(madeAt).toISOString(), new Date(oldestAt).toISOString()];
  return [
    `The id is of ${made}, and the oldest event is of ${oldest}: retention has removed the event, or it never came`,
  ];
}

/** The caller reads the events of the caller's channels, and the commands of cameras that the caller may command. */
function mayRead(grants: Grants, event: Pick<Entry, "channels" | "camera"> & { kind: Kind }): boolean {
  const { kind, camera, channels } = event;
  if (grants.admin) return true;
  if (kind === "command") return camera !== undefined && grants.canCommand(camera);
  return channels.some((name) => grants.canReadChannel(name) && shows(name, grants.onlyCameras, event));
}
