/** Unprintable characters: control characters, bidirectional marks, line ends, unassigned code points. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/gu;
/** Blanks that look like a space or are invisible. */
const OTHER_BLANKS = /[^\P{Zs} ]/gu;

/**
 * Escapes unprintable characters as JSON does: `\u202e`. In a terminal a name must not move the cursor, begin a line or
 * reverse the order of characters. A reader of an error message must see what is wrong.
 */
export function visible(text: string): string {
  return text.replace(UNPRINTABLE, escaped).replace(OTHER_BLANKS, escaped);
}

/** Matches a color code, a line end, a tab, or, as group 1, an unprintable character. */
const FORMATTED = new RegExp(`${String.fromCharCode(0x1b)}\\[[\\d;]*m|[\\n\\t]|([\\p{C}\\p{Zl}\\p{Zp}])`, "gu");

/** Escapes unprintable characters of formatted text and keeps its colors, line ends and tabs. */
export function terminalText(text: string): string {
  return text.replace(FORMATTED, (found, unprintable?: string) =>
    unprintable === undefined ? found : escaped(unprintable),
  );
}

/** The text as a JSON string in quotes, with unprintable characters escaped. */
export function quoted(text: string): string {
  return visible(JSON.stringify(text));
}

/** One character as JSON escapes of its UTF-16 code units. */
export function escaped(character: string): string {
  return character
    .split("")
    .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
    .join("");
}
