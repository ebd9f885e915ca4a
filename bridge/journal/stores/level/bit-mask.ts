/** How many bits are set. */
export function countBits(bits: number): number {
  let count = 0;
  for (let rest = bits; rest !== 0; rest &= rest - 1) count++;
  return count;
}

/** The lowest `count` bits, at most 30. */
export function lowBits(count: number): number {
  return count <= 0 ? 0 : count >= 30 ? 0x3fff_ffff : (1 << count) - 1;
}

/** The place of the highest set bit, bit 0 being 1; 0 when none is set. */
export function bitLength(bits: number): number {
  return 32 - Math.clz32(bits);
}

/** `bits` without all but its lowest `count` set bits. */
export function lowestSetBits(bits: number, count: number): number {
  let rest = bits;
  for (let taken = 0; taken < count && rest !== 0; taken++) rest &= rest - 1;
  return bits & ~rest;
}
