import type { Connection } from "../../../../platform/redis/connection.ts";
import { CHUNKS_PER_READ, readChunk, stampOf } from "./chunk.ts";
import type { JournalKeys } from "./keys.ts";

/** At the highest rate, the writes of some seconds: a failover loses no more. */
const MAX_CHUNKS = 8_192;

/** Where the newest chunks end that this node has passed on, with their stamps. This shows which of them Redis has lost. */
export class ChunkHistory {
  /** In order of position. */
  #ends: number[];
  #stamps: string[];

  constructor(end: number, stamp: string) {
    this.#ends = [end];
    this.#stamps = [stamp];
  }

  /** Chunks at or below the newest end are known already. */
  push(end: number, stamp: string): void {
    if (end <= (this.#ends.at(-1) ?? 0)) return;
    this.#ends.push(end);
    this.#stamps.push(stamp);
    if (this.#ends.length < 2 * MAX_CHUNKS) return;
    this.#ends = this.#ends.slice(MAX_CHUNKS);
    this.#stamps = this.#stamps.slice(MAX_CHUNKS);
  }

  /** Adds the chunks of an earlier history up to the position, which are before the chunks of this history. */
  continue(earlier: ChunkHistory, upTo: number): void {
    const [oldest = 0] = this.#ends;
    const count = earlier.#indexAfter(Math.min(upTo, oldest - 1));
    this.#ends = [...earlier.#ends.slice(0, count), ...this.#ends];
    this.#stamps = [...earlier.#stamps.slice(0, count), ...this.#stamps];
  }

  /** How many entries above the position the run has written. Without a position: in the whole history. */
  countOf(run: string, after = 0): number {
    let count = 0;
    for (let index = Math.max(1, this.#indexAfter(after)); index < this.#ends.length; index++)
      if (this.#stamps[index]?.startsWith(`${run}/`))
        count += (this.#ends[index] ?? 0) - Math.max(after, this.#ends[index - 1] ?? 0);
    return count;
  }

  /**
   * The position up to which Redis has what this node has passed on. Undefined: it is below the history.
   * @throws {StoreUnavailableError}
   */
  async shared(connection: Connection, keys: JournalKeys): Promise<number | undefined> {
    const [oldest = 0] = this.#ends;
    for (let newest = this.#ends.at(-1) ?? 0; newest >= oldest; ) {
      const rows = await connection.do((redis) =>
        redis.xrevrangeBuffer(keys.log, `${newest}-0`, `${oldest}-0`, "COUNT", CHUNKS_PER_READ),
      );
      for (const [id, fields] of rows) {
        const chunk = readChunk(id, fields);
        const end = chunk.base + chunk.size;
        if (this.#stamps[this.#indexAfter(end) - 1] === stampOf(chunk)) return end;
        newest = end - 1;
      }
      if (rows.length === 0) return undefined;
    }
    return undefined;
  }

  /** The index of the first end above the position. */
  #indexAfter(position: number): number {
    let low = 0;
    let high = this.#ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#ends[middle] ?? 0) > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
