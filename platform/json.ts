import { withoutBom } from "./byte-order-mark.ts";

/** @returns undefined if the text is not JSON */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(withoutBom(text));
  } catch {
    return undefined;
  }
}
