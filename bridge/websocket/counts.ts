/** Adds 1 or -1 to the key's count. A count of 0 is removed from the map. */
export function count<Key>(counts: Map<Key, number>, key: Key, by: 1 | -1): void {
  const sum = (counts.get(key) ?? 0) + by;
  if (sum === 0) counts.delete(key);
  else counts.set(key, sum);
}
