/**
 * Removes the byte order mark that some Windows editors and shells write before UTF-8 text. JSON and names of settings
 * do not begin with such a mark, and RFC 8259, section 8.1, lets a reader of JSON ignore it.
 */
export function withoutBom(text: string): string {
  return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
}
