/**
 * The text without the byte order mark that some editors and shells of Windows put before UTF-8: JSON and names of settings
 * do not begin with one (RFC 8259, section 8.1, lets a reader ignore it).
 */
export function withoutBom(text: string): string {
  return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
}
