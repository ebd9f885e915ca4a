import { escaped } from "../contract/visible-text.ts";

/** All that does not print: control characters, marks that turn the direction of text, line ends that JSON leaves as they are. */
const UNPRINTABLE = /[^\P{C}\n]|[\p{Zl}\p{Zp}]/gu;

/**
 * Lines of JSON, with what does not print written as JSON may write it: the same for a program, and one line each, in
 * the order of its characters, for whoever reads or splits it as text.
 */
export function plainLines(json: string): string {
  return json.replace(UNPRINTABLE, escaped);
}
