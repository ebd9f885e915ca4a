export function countBits(mask: number): number {
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count++;
  return count;
}

/** A mask with the lowest `count` bits set, at most 30. */
export function lowBits(count: number): number {
  return count <= 0 ? 0 : count >= 30 ? 0x3fff_ffff : (1 << count) - 1;
}

/** The number of bits up to and including the highest set bit; 0 when no bit is set. */
export function bitLength(mask: number): number {
  return 32 - Math.clz32(mask);
}

/** Keeps the lowest `count` set bits and clears the others. */
export function lowestSetBits(mask: number, count: number): number {
  let rest = mask;
  for (let taken = 0; taken < count && rest !== 0; taken++) rest &= rest - 1;
  return mask & ~rest;
}
