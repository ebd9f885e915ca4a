import { type LoggedPublication, type PublicationLog, sizeOf } from "../../platform/publication-log.ts";
import type { SessionCursor } from "./session-cursor.ts";
import type { LogCursor, SessionGroup } from "./session-groups.ts";

/** The publications of a group in a part of the log. */
interface GroupPublications {
  readonly positions: number[];
  /** The total size up to each position. */
  readonly sizes: number[];
}

/** Reads the log up to the position, to count what sessions lose. @throws {StoreUnavailableError} */
export async function publicationsUpTo(
  upTo: number,
  log: PublicationLog,
  match: (publication: LoggedPublication) => readonly SessionGroup[],
): Promise<Map<SessionGroup, GroupPublications>> {
  const found = new Map<SessionGroup, GroupPublications>();
  for (let after = log.floor; after < upTo; ) {
    const { publications, next } = await log.scan(after);
    for (const publication of publications) {
      if (publication.position > upTo) break;
      // A session that was away gets the newest of these only: an older one is not lost.
      if (publication.reference !== undefined) continue;
      for (const group of match(publication)) {
        const { positions, sizes } = found.get(group) ?? { positions: [], sizes: [] };
        positions.push(publication.position);
        sizes.push((sizes.at(-1) ?? 0) + sizeOf(publication));
        found.set(group, { positions, sizes });
      }
    }
    after = next;
  }
  return found;
}

/** The number and size of the publications above the position. */
export function above(position: number, found: GroupPublications | undefined): { messages: number; bytes: number } {
  if (found === undefined) return { messages: 0, bytes: 0 };
  const { positions, sizes } = found;
  let low = 0;
  let high = positions.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((positions[middle] ?? 0) > position) high = middle;
    else low = middle + 1;
  }
  return { messages: positions.length - low, bytes: (sizes.at(-1) ?? 0) - (sizes[low - 1] ?? 0) };
}

/** The positions of the publications that are for each session. */
export function positionsBySession(
  publications: readonly LoggedPublication[],
  match: (publication: LoggedPublication) => readonly SessionGroup[],
): Map<LogCursor, number[]> {
  const found = new Map<LogCursor, number[]>();
  for (const publication of publications) {
    // A session that was away gets the newest of these only.
    if (publication.reference !== undefined) continue;
    for (const group of match(publication))
      for (const cursor of group.members) {
        const positions = found.get(cursor);
        if (positions === undefined) found.set(cursor, [publication.position]);
        else positions.push(publication.position);
      }
  }
  return found;
}

/** Parks a session that comes from another node, with what it has behind it as far as memory reaches back. */
export function parkBehind(
  cursor: SessionCursor,
  group: SessionGroup | undefined,
  log: PublicationLog,
  edge: number,
): void {
  let messages = 0;
  let bytes = 0;
  let hasNothing = true;
  for (let after = cursor.sent; after < edge; ) {
    const page = log.recent(after);
    if (page === undefined) return;
    for (const publication of page.publications) {
      if (publication.position > edge || cursor.qosOf(publication) === 0) continue;
      hasNothing = false;
      // As in a group, references do not count.
      if (publication.reference !== undefined) continue;
      messages++;
      bytes += sizeOf(publication);
    }
    after = page.next;
  }
  if (hasNothing) cursor.skipTo(edge);
  group?.park(cursor, messages, bytes);
}
