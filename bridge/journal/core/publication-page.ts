import type { LoggedPublication, PublicationPage } from "../../../platform/publication-log.ts";

/** A row of the log: the publications of one write, or of a part of it. */
export interface LogRow {
  /** The row has everything above the previous row and up to this position. */
  readonly last: number;
  /** Undefined when the row is unreadable. */
  readonly content:
    | {
        /** The last position of the previous row. Undefined in rows of earlier versions. */
        readonly previous: number | undefined;
        /** Milliseconds since 1970. */
        readonly writtenAt?: number | undefined;
        readonly publications: readonly LoggedPublication[];
      }
    | undefined;
}

/** The log when a page was read. */
interface PageBounds {
  /** The page has publications above this position. */
  readonly from: number;
  readonly head: number;
  /** The last position of the newest row. */
  readonly last: number;
}

/**
 * Makes a page of the next rows. Ends the page before missing rows. A page that begins with missing rows reports them
 * and continues after them.
 */
export function publicationPage(rows: readonly LogRow[], { from, head, last }: PageBounds): PublicationPage {
  const publications: LoggedPublication[] = [];
  let next = from;
  let missing: PublicationPage["missing"];
  const stored: { upTo: number; at: number }[] = [];
  const page = (): PublicationPage => ({
    ...{ publications, next },
    ...(missing === undefined ? {} : { missing }),
    ...(stored.length === 0 ? {} : { stored }),
  });
  for (const { last: end, content } of rows) {
    // The row after an unreadable row shows which positions are missing.
    if (content === undefined) continue;
    if (content.previous !== undefined && content.previous > next) {
      if (next > from) return page();
      missing = { after: from, before: content.publications[0]?.position ?? end };
    }
    for (const publication of content.publications) if (publication.position > from) publications.push(publication);
    next = end;
    if (content.writtenAt !== undefined) stored.push({ upTo: end, at: content.writtenAt });
  }
  if (next === from) {
    // All rows are unreadable, or the newest rows are lost. Fewer rows than requested would not show this.
    next = rows.at(-1)?.last ?? last;
    missing = { after: from, before: next + 1 };
  }
  if (next >= last) next = Math.max(next, head);
  return page();
}
