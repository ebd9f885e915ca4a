import { escaped } from "../contract/visible-text.ts";

/** Characters that do not print: control characters, bidirectional marks, and line separators that JSON allows raw. */
const UNPRINTABLE = /[^\P{C}\n]|[\p{Zl}\p{Zp}]/gu;

/**
 * Escapes unprintable characters in lines of JSON, as JSON permits. A program reads the same values; a person who reads
 * or splits the text sees one line for each record, with its characters in order.
 */
export function plainLines(json: string): string {
  return json.replace(UNPRINTABLE, escaped);
}
