/** Removes the byte order mark that some Windows programs write. JSON readers may ignore it (RFC 8259, section 8.1). */
export function withoutBom(text: string): string {
  return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
}
