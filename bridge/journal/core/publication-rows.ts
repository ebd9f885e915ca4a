/** The rows of publications for MQTT subscribers in a store, as of the head of the journal. */
export class PublicationRows {
  /** The last position of the newest row; 0 when there was none. */
  last: number;
  /** The size of all rows ever written, or, if the store counts no removed bytes, of those that it has. */
  written: number;
  /** Publications up to this position were removed. */
  floor: number;
  /** Whether publications get rows. */
  isStored = true;
  /** The size of the removed rows. */
  removed = 0;

  constructor(last: number, written: number, floor = 0) {
    this.last = last;
    this.written = written;
    this.floor = floor;
  }

  get bytes(): number {
    return Math.max(0, this.written - this.removed);
  }

  /** Adds the row of a write, or of a part of it, that ends at `last`. Without publications, there is none: 0 bytes. */
  add(last: number, bytes: number): void {
    if (bytes === 0) return;
    this.last = last;
    this.written += bytes;
  }

  /** Outdated, lower numbers change nothing. */
  trimmed(floor: number, removed = 0): void {
    this.floor = Math.max(this.floor, floor);
    this.removed = Math.max(this.removed, removed);
  }
}
