import { FREE_SEQS_KEY, LAST_SEQ_KEY } from "./rows.ts";
import type { Change } from "./store.ts";

/** Numbers messages in the order of their first sending. A gap in the numbers tells the server that messages were lost. */
export class SequenceNumbers {
  #last = 0;
  /** Numbers given back by messages that were never sent, ascending. They are assigned first. */
  #free: number[] = [];

  /** Restores the numbers of an earlier run. @param assigned numbers of the stored messages */
  restore(last: number, free: readonly number[], assigned: ReadonlySet<number>): void {
    this.#last = last;
    for (const seq of assigned) this.#last = Math.max(this.#last, seq);
    this.#free = free.filter((seq) => !assigned.has(seq));
  }

  next(): number {
    return this.#free.shift() ?? ++this.#last;
  }

  /** @returns the change to write */
  giveBack(seqs: readonly number[]): Change {
    this.#free.push(...seqs);
    this.#free.sort((a, b) => a - b);
    return this.#freeRow;
  }

  /** The changes to write after numbers were assigned. */
  get rows(): readonly Change[] {
    return [[LAST_SEQ_KEY, String(this.#last)], this.#freeRow];
  }

  get #freeRow(): Change {
    return [FREE_SEQS_KEY, JSON.stringify(this.#free)];
  }
}
