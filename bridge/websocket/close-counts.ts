import { CloseCode } from "../../contract/codes.ts";
import { count } from "./counts.ts";

/** The close codes of RFC 6455 that are counted separately. */
const COUNTED_CODES: ReadonlySet<number> = new Set([1000, 1001, 1002, 1005, 1006, 1007, 1009]);

const REASONS: ReadonlyMap<unknown, string> = new Map<unknown, string>([
  ...Object.entries(CloseCode).map(([name, code]) => [code, name] as const),
  [1000, "closed by the client"],
  [1001, "the page was left, or the client is going away"],
  [1005, "closed by the client without a code"],
  [1006, "the connection was lost"],
]);

/** Counts closed connections by code: the contract's codes, some of RFC 6455, and `other`. */
export class CloseCounts {
  readonly #counts = new Map<string, number>();

  /**
   * @param closedWith the code of this side; undefined when the client closed, or the connection was lost
   * @param code the code that `ws` reports
   */
  add(closedWith: CloseCode | undefined, code: number): { code: number | string; reason: string } {
    const counted = closedWith ?? (COUNTED_CODES.has(code) ? code : "other");
    count(this.#counts, String(counted), 1);
    return { code: counted, reason: REASONS.get(counted) ?? "closed with another code" };
  }

  toJSON(): Record<string, number> {
    return Object.fromEntries(this.#counts);
  }
}
