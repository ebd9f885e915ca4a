import type { Store } from "../../../../platform/level/store.ts";
import type { WriteSet } from "../../../../platform/level/write-set.ts";
import type { LoggedPublication } from "../../../../platform/publication-log.ts";
import { openKey, rowsOf } from "./keys.ts";
import { readPublications } from "./publications.ts";

/** The commands that the relay has not finished, each in a row of its own. */
export class OpenPublications {
  readonly #positions = new Set<number>();
  /** Those of earlier runs, once they were read. The row of a finished one may still be in the store. */
  readonly #earlier = new Set<number>();

  add(position: number): void {
    this.#positions.add(position);
  }

  /** Removes the row. @returns whether the store must be written */
  finished(position: number, set: WriteSet): boolean {
    if (!this.#positions.delete(position)) return false;
    set.del(openKey(position));
    return true;
  }

  /** Those that earlier runs have not finished, up to and including the position `until`. */
  async *unfinished(store: Pick<Store, "read">, until: number): AsyncGenerator<LoggedPublication> {
    const range = { gte: rowsOf("k").gte, lte: openKey(until) };
    const rows = await store.read((db) => db.iterator<string, Uint8Array>({ ...range, valueEncoding: "view" }).all());
    for (const [, bytes] of rows) {
      for (const publication of readPublications(bytes).publications) {
        const { position } = publication;
        if (!this.#earlier.has(position)) this.#positions.add(position);
        this.#earlier.add(position);
        if (this.#positions.has(position)) yield publication;
      }
    }
  }
}
