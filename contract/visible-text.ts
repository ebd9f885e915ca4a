/** Unprintable characters: control characters, bidirectional marks, line ends, unassigned code points. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/gu;
/** Blanks other than the space: they look like a space or are invisible. */
const OTHER_BLANKS = /[^\P{Zs} ]/gu;

/**
 * Escapes unprintable characters as JSON does, for example `\u202e`. In a terminal a name must not move the cursor, begin a
 * line or reverse the order of characters. In an error message the reader must see what is wrong.
 */
export function visible(text: string): string {
  return text.replace(UNPRINTABLE, escaped).replace(OTHER_BLANKS, escaped);
}

/** Matches a color code, a line end or a tab; its group matches an unprintable character. */
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

/** The UTF-16 code units of one character as JSON escapes. */
export function escaped(character: string): string {
  return Array.from({ length: character.length }, (_, unit) => {
    const code = character.charCodeAt(unit).toString(16);
    return `\\u${code.padStart(4, "0")}`;
  }).join("");
}
