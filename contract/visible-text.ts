/** All that does not print: control characters, marks that turn the direction of text, line ends, unassigned code points. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/gu;
/** Blanks that look like a space, or like nothing, and are not one. */
const OTHER_BLANKS = /[^\P{Zs} ]/gu;

/**
 * The text with all that does not print written as JSON escapes it, such as `\u202e`. For terminals, where a name must not
 * move the cursor, begin a line or turn the order of characters, and for messages, where it must be seen what is wrong.
 */
export function visible(text: string): string {
  return text.replace(UNPRINTABLE, escaped).replace(OTHER_BLANKS, escaped);
}

/** A color, a line end or a tab; or, in the group, something that does not print. */
const FORMATTED = new RegExp(`${String.fromCharCode(0x1b)}\\[[\\d;]*m|[\\n\\t]|([\\p{C}\\p{Zl}\\p{Zp}])`, "gu");

/** The same for text that a program has formatted: its colors, lines and tabs stay. */
export function terminalText(text: string): string {
  return text.replace(FORMATTED, (found, unprintable?: string) =>
    unprintable === undefined ? found : escaped(unprintable),
  );
}

/** The text in quotes, as a JSON string that holds printable characters only. */
export function quoted(text: string): string {
  return visible(JSON.stringify(text));
}

/** The UTF-16 code units of one character, each as JSON may write it. */
export function escaped(character: string): string {
  return Array.from({ length: character.length }, (_, unit) => {
    const code = character.charCodeAt(unit).toString(16);
    return `\\u${code.padStart(4, "0")}`;
  }).join("");
}
