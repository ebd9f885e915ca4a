import { escaped } from "../contract/visible-text.ts";

const UNPRINTABLE = /[^\P{C}\n]|[\p{Zl}\p{Zp}]/gu;

/**
 * Escapes control characters, bidirectional marks and line separators in lines of JSON. A person then reads one line
 * for each record, and a program reads the same values.
 */
export function plainLines(json: string): string {
  return json.replace(UNPRINTABLE, escaped);
}
