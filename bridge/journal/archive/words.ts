/** Longer words are identifiers and hashes, which nobody searches for. */
const MAX_WORD_LENGTH = 40;
/** The index holds at most this many words of an event. */
const MAX_WORDS = 64;
/** Ids and times are not indexed: each is different, so they would make the index as large as the events. */
const ID = /^[0-9A-HJKMNP-TV-Z]{26}$|^\d{4}-\d\d-\d\dT[\d:.]+Z$/;
const WORD = /[\p{L}\p{N}]+/gu;

/**
 * The words of a text in the form in which they are compared: in lower case and without accents. PostgreSQL and SQLite
 * would each split texts in their own way, so both are given the result of this function.
 */
export function wordsOf(text: string): string[] {
  const words = text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().match(WORD) ?? [];
  return words.filter((word) => word.length <= MAX_WORD_LENGTH);
}

/**
 * The words of a search, such as `lens froz*`. Each ends with `*` if the event may contain a longer word. Only then must
 * SQLite merge the lists of several words, which takes the longer the more events have them.
 */
export function searchWordsOf(text: string): string[] {
  return text.split(/\s+/).flatMap((part) => {
    const words = wordsOf(part);
    const last = words.pop();
    return last === undefined ? words : [...words, part.endsWith("*") ? `${last}*` : last];
  });
}

/** The words of the strings in an event's data, each once, separated by blanks. */
export function searchText(data: unknown): string {
  const found = new Set<string>();
  collect(data, found);
  return [...found].join(" ");
}

function collect(value: unknown, found: Set<string>): void {
  if (found.size >= MAX_WORDS) return;
  if (typeof value === "string") {
    if (value.startsWith("/") || ID.test(value)) return;
    for (const word of wordsOf(value)) if (found.size < MAX_WORDS) found.add(word);
  } else if (typeof value === "object" && value !== null) {
    for (const part of Object.values(value)) collect(part, found);
  }
}
