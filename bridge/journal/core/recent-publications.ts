import type { LoggedPublication, PublicationPage } from "../../../platform/publication-log.ts";
import { KeptBytes } from "./kept-bytes.ts";

/** The approximate memory of a publication besides its payload and properties. */
const PUBLICATION_BYTES = 200;
const PAGE_PUBLICATIONS = 512;
const MAX_BYTES = 16 * 1024 * 1024;

/** The newest publications in memory. They serve sessions that are a little behind, without reading the store. */
export class RecentPublications {
  readonly #maxBytes: number;
  readonly #kept = new KeptBytes();
  #publications: LoggedPublication[] = [];
  /** The index of the oldest publication. Evicted ones before it stay in the array until they are half of it. */
  #start = 0;
  #bytes = 0;
  #after: number;
  #head: number;

  constructor(head: number, maxBytes = MAX_BYTES) {
    this.#maxBytes = maxBytes;
    this.#after = head;
    this.#head = head;
  }

  /** Every publication above this position is in memory. */
  get after(): number {
    return this.#after;
  }

  /** Adds the publications that follow the last one, and evicts the oldest beyond the limit. */
  push(publications: readonly LoggedPublication[], head: number): void {
    this.#head = head;
    for (const publication of publications) {
      this.#publications.push(this.#compact(publication));
      this.#bytes += memoryOf(publication);
    }
    while (this.#bytes > this.#maxBytes) {
      const oldest = this.#publications[this.#start];
      if (oldest === undefined) break;
      this.#bytes -= memoryOf(oldest);
      this.#after = oldest.position;
      this.#start++;
    }
    if (this.#start * 2 > this.#publications.length) {
      this.#publications = this.#publications.slice(this.#start);
      this.#start = 0;
    }
  }

  /** The next publications after the position; undefined when older ones are needed. */
  read(after: number): PublicationPage | undefined {
    if (after < this.#after) return undefined;
    const from = this.#indexAfter(after);
    const publications = this.#publications.slice(from, from + PAGE_PUBLICATIONS);
    const isLast = from + publications.length === this.#publications.length;
    const next = isLast ? Math.max(after, this.#head) : (publications.at(-1)?.position ?? after);
    return { publications, next };
  }

  /** The publication without the other bytes that its client sent together with it. */
  #compact(publication: LoggedPublication): LoggedPublication {
    const payload = this.#kept.keep(publication.payload);
    if (publication.properties === undefined)
      return payload === publication.payload ? publication : { ...publication, payload };
    const { buffer, byteOffset, length } = publication.properties;
    return { ...publication, payload, properties: this.#kept.keep(Buffer.from(buffer, byteOffset, length)) };
  }

  #indexAfter(position: number): number {
    let low = this.#start;
    let high = this.#publications.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#publications[middle]?.position ?? 0) > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

function memoryOf({ payload, properties }: LoggedPublication): number {
  return payload.length + (properties?.length ?? 0) + PUBLICATION_BYTES;
}
