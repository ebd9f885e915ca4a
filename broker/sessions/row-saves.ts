/**
 * Changed records that no acknowledgement waits for are written this often, and not more of them each time, in the order
 * of their changes: what many sessions receive must not cost as many writes.
 */
const SAVE_INTERVAL_MS = 50;
const MAX_SAVES = 64;

interface Saved {
  /** When the record was last saved, by the clock of `performance.now`. */
  savedAt: number;
}

/** Saves changed records: soon, or at once when an answer to the client waits for the record. */
export class RowSaves<Row extends Saved> {
  readonly #put: (row: Row) => void;
  /** In the order of their first change after they were saved. */
  readonly #changed = new Set<Row>();
  /** Until it fires, this many changed records may be saved. */
  #timer: NodeJS.Timeout | undefined;
  #left = MAX_SAVES;

  /** @param put puts the record into the next write */
  constructor(put: (row: Row) => void) {
    this.#put = put;
  }

  note(row: Row): void {
    this.#changed.add(row);
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#left = MAX_SAVES;
      this.saveSome();
      const [waiting] = this.#changed;
      if (waiting !== undefined) this.note(waiting);
    }, SAVE_INTERVAL_MS).unref();
  }

  /** Nothing of the row is saved any more. */
  forget(row: Row): void {
    this.#changed.delete(row);
  }

  /** Puts some changed rows into the next write. Not those that were saved recently: the journal may write after every message. */
  saveSome(): void {
    const moment = performance.now();
    for (const row of this.#changed) {
      if (this.#left === 0) return;
      if (moment - row.savedAt < SAVE_INTERVAL_MS) continue;
      this.#left--;
      row.savedAt = moment;
      this.#save(row);
    }
  }

  /** Puts the row's changes into the next write. */
  save(row: Row): void {
    if (this.#changed.has(row)) this.#save(row);
  }

  saveAll(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const row of this.#changed) this.#save(row);
  }

  #save(row: Row): void {
    this.#changed.delete(row);
    this.#put(row);
  }
}
