const SPACE = /[ \t\r\n]*/y;
const STRING = /"(?:[^"\\\p{Cc}]|[\u007f-\u009f]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*"/uy;
const SCALAR = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])|(?:true|false|null)(?!\w)/y;

interface Position {
  at: number;
  /** The tokens that may follow. */
  expected: "value" | "value or ]" | "key" | "key or }" | "comma or end";
}

/**
 * The position of the first error, counted from 1; the end of an incomplete text. Some versions of Node give no
 * position in the messages of `JSON.parse`, and quote the text, which may be a secret.
 */
export function jsonErrorAt(text: string): { line: number; column: number } {
  const before = text.slice(0, offsetOfError(text)).split(/\r\n|\r|\n/);
  return { line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}

function offsetOfError(text: string): number {
  const open: string[] = [];
  let position: Position = { at: after(SPACE, text, 0) ?? 0, expected: "value" };
  while (position.at < text.length) {
    const next = step(text, position, open);
    if (next === undefined) break;
    position = { ...next, at: after(SPACE, text, next.at) ?? next.at };
  }
  return position.at;
}

/** Reads one token; undefined when it is not allowed there. */
function step(text: string, { at, expected }: Position, open: string[]): Position | undefined {
  const character = text.charAt(at);
  const inObject = open.at(-1) === "{";
  if (expected === "comma or end") {
    if (character === "," && open.length > 0) return { at: at + 1, expected: inObject ? "key" : "value" };
    if (character === (inObject ? "}" : "]") && open.pop() !== undefined) return { at: at + 1, expected };
    return undefined;
  }
  if (expected === "key" || expected === "key or }") {
    if (character === "}" && expected === "key or }") {
      open.pop();
      return { at: at + 1, expected: "comma or end" };
    }
    const key = after(STRING, text, at);
    const colon = key === undefined ? undefined : (after(SPACE, text, key) ?? key);
    if (colon === undefined) return undefined;
    // A missing colon is reported at the position of its key.
    return text.charAt(colon) === ":" ? { at: colon + 1, expected: "value" } : undefined;
  }
  if (character === "]" && expected === "value or ]") {
    open.pop();
    return { at: at + 1, expected: "comma or end" };
  }
  if (character === "{" || character === "[") {
    open.push(character);
    return { at: at + 1, expected: character === "{" ? "key or }" : "value or ]" };
  }
  const end = after(STRING, text, at) ?? after(SCALAR, text, at);
  return end === undefined ? undefined : { at: end, expected: "comma or end" };
}

/** The end of the pattern's match at this position; undefined without a match. */
function after(pattern: RegExp, text: string, at: number): number | undefined {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : undefined;
}
