import type { Json } from "./cluster.ts";

export const MAX_KEY_LENGTH = 512;
/** Characters of JSON: documents are small records, read and written as a whole. */
export const MAX_DOCUMENT_LENGTH = 256 * 1024;
/** The most waiting writes of one node. Further writes fail: a slow store must not exhaust memory. */
export const MAX_WAITING_WRITES = 10_000;

/** @throws {RangeError} */
export function checkCollection(name: string): void {
  if (!/^[a-z][a-z0-9-]{0,63}$/.test(name))
    throw new RangeError(`"${name}" is not a name of a collection: at most 64 lower-case letters, digits and hyphens`);
}

/** @throws {RangeError} */
export function checkKey(key: string): void {
  if (key.length === 0 || key.length > MAX_KEY_LENGTH)
    throw new RangeError(`a key of a document has 1 to ${MAX_KEY_LENGTH} characters, not ${key.length}`);
}

/** @throws {RangeError} */
export function encodeValue(value: Json): string {
  const text = JSON.stringify(value);
  if (text.length > MAX_DOCUMENT_LENGTH)
    throw new RangeError(`a document has at most ${MAX_DOCUMENT_LENGTH} characters of JSON, not ${text.length}`);
  return text;
}

/** Characters of JSON: every node receives each signal. */
export const MAX_SIGNAL_LENGTH = 1024 * 1024;

/** @throws {RangeError} */
export function checkSignal(message: Json): void {
  const { length } = JSON.stringify(message);
  if (length > MAX_SIGNAL_LENGTH)
    throw new RangeError(`a signal has at most ${MAX_SIGNAL_LENGTH} characters of JSON, not ${length}`);
}
