import { type LoggedPublication, sizeOf } from "../../../platform/publication-log.ts";
import type { LogRow } from "./publication-page.ts";

type Content = NonNullable<LogRow["content"]>;

/** A row that replaces others. */
export interface ReducedRow extends Pick<Content, "writtenAt" | "publications"> {
  readonly previous: number;
  readonly last: number;
}

/** Consecutive rows of the log, without the publications that nobody wants. */
export class ReducedRows {
  readonly #isWanted: (publication: LoggedPublication) => boolean;
  readonly kept: LoggedPublication[] = [];
  /** The number of rows, and of all their publications. */
  count = 0;
  total = 0;
  /** The size of the publications that are not kept. */
  removedBytes = 0;
  #previous: number | undefined;
  #writtenAt: number | undefined;
  /** The last position of the newest row. */
  last = 0;

  constructor(isWanted: (publication: LoggedPublication) => boolean) {
    this.#isWanted = isWanted;
  }

  /**
   * Adds the next row. @param newest publications that name the newest preview of a camera
   * @returns false if it is unreadable, or if rows before it are missing: readers must notice this
   */
  add({ last, content }: LogRow, newest: { has(publication: LoggedPublication): boolean }): boolean {
    if (content?.previous === undefined || (this.count > 0 && content.previous !== this.last)) return false;
    this.#previous ??= content.previous;
    this.#writtenAt = content.writtenAt ?? this.#writtenAt;
    this.last = last;
    this.count++;
    this.total += content.publications.length;
    for (const publication of content.publications) {
      const isCurrent = publication.reference === undefined || newest.has(publication);
      if (isCurrent && this.#isWanted(publication)) this.kept.push(publication);
      else this.removedBytes += sizeOf(publication);
    }
    return true;
  }

  /**
   * Rows that replace the added ones. They stay linked: the last one has the position of the last added one, even if it is
   * empty, because the row after it names this position. So a reader sees no loss.
   * @param maxBytes rows are joined up to this size
   */
  *rows(maxBytes: number): Generator<ReducedRow> {
    const writtenAt = this.#writtenAt;
    let previous = this.#previous ?? 0;
    let publications: LoggedPublication[] = [];
    let bytes = 0;
    for (const [index, publication] of this.kept.entries()) {
      publications.push(publication);
      bytes += sizeOf(publication);
      if (bytes < maxBytes || index === this.kept.length - 1) continue;
      yield { previous, last: publication.position, writtenAt, publications };
      previous = publication.position;
      publications = [];
      bytes = 0;
    }
    yield { previous, last: this.last, writtenAt, publications };
  }
}
