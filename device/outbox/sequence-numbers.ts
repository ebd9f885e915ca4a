import { FREE_SEQS_KEY, LAST_SEQ_KEY } from "./rows.ts";
import type { Change } from "./store.ts";

/** Numbers messages in the order of first sending. A gap shows the server that messages were lost. */
export class SequenceNumbers {
  #last = 0;
  #free: number[] = [];

  restore(last: number, free: readonly number[], assigned: ReadonlySet<number>): void {
    this.#last = last;
    for (const seq of assigned) this.#last = Math.max(this.#last, seq);
    this.#free = free.filter((seq) => !assigned.has(seq));
  }

  next(): number {
    return this.#free.shift() ?? ++this.#last;
  }

  giveBack(seqs: readonly number[]): Change {
    this.#free.push(...seqs);
    this.#free.sort((a, b) => a - b);
    return this.#freeRow;
  }

  get rows(): readonly Change[] {
    return [[LAST_SEQ_KEY, String(this.#last)], this.#freeRow];
  }

  get #freeRow(): Change {
    return [FREE_SEQS_KEY, JSON.stringify(this.#free)];
  }
}
