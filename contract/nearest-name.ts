/** Two names are similar if at most one letter in three differs. */
const LETTERS_PER_ERROR = 3;

/**
 * The known name that is most similar to a misspelt name, or undefined. Ignores case.
 * @param maxErrors the most letters that may differ. Default: limited by the length only.
 */
export function nearestName(name: string, known: Iterable<string>, maxErrors = Infinity): string | undefined {
  let best: { name: string; errors: number } | undefined;
  for (const candidate of known) {
    const allowed = Math.min(maxErrors, Math.floor(Math.max(name.length, candidate.length) / LETTERS_PER_ERROR));
    if (Math.abs(name.length - candidate.length) > allowed) continue;
    const errors = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (errors <= allowed && (best === undefined || errors < best.errors)) best = { name: candidate, errors };
  }
  return best?.name;
}

/** For example ` (did you mean "days"?)`; empty if no known name is similar. */
export function didYouMean(name: string, known: Iterable<string>): string {
  const nearest = nearestName(name, known);
  return nearest === undefined ? "" : ` (did you mean "${nearest}"?)`;
}

/** The number of letters to insert, delete or replace (Wagner and Fischer), computed one row at a time. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
