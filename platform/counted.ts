/** The number with the noun: `1 connection`, `2 connections`. @param plural default: the noun with an `s` */
export function counted(count: number, noun: string, plural = `${noun}s`): string {
  return `${count} ${count === 1 ? noun : plural}`;
}
