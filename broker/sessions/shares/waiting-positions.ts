/** The positions of both lists in order, each once. */
export function merged(one: readonly number[], other: readonly number[]): number[] {
  const [first] = other;
  // Mostly, these positions are above all that wait.
  if (other.length === 1 && first !== undefined && first > (one.at(-1) ?? 0)) return [...one, first];
  return [...new Set([...one, ...other])].sort((lower, higher) => lower - higher);
}

/** The first of the sorted positions that is above the other position. */
export function firstAbove(sorted: readonly number[], position: number): number | undefined {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] ?? 0) > position) high = middle;
    else low = middle + 1;
  }
  return sorted[low];
}

/** The lowest of the sorted positions that is not among the others; undefined if there is none. */
export function firstNew(sorted: readonly number[], known: readonly number[]): number | undefined {
  let at = 0;
  for (const position of sorted) {
    while (at < known.length && (known[at] ?? 0) < position) at++;
    if (known[at] !== position) return position;
  }
  return undefined;
}
