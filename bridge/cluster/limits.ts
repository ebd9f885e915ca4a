import type { Json } from "./cluster.ts";

/** The longest key of a document, characters. */
export const MAX_KEY_LENGTH = 512;
/** The largest document, as JSON, characters: they are small records, read and written whole. */
export const MAX_DOCUMENT_LENGTH = 256 * 1024;
/** Writes that wait at one node; more are refused, so that a slow store does not fill the memory. */
export const MAX_WAITING_WRITES = 10_000;

/** @throws {RangeError} no name of a collection: lower-case letters, digits and hyphens, at most 64 */
export function checkCollection(collection: string): void {
  if (!/^[a-z][a-z0-9-]{0,63}$/.test(collection)) throw new RangeError(`"${collection}" is no name of a collection`);
}

/** @throws {RangeError} empty, or longer than {@link MAX_KEY_LENGTH} */
export function checkKey(key: string): void {
  if (key.length === 0 || key.length > MAX_KEY_LENGTH)
    throw new RangeError(`the key of a document has 1 to ${MAX_KEY_LENGTH} characters, not ${key.length}`);
}

/** @throws {RangeError} larger than {@link MAX_DOCUMENT_LENGTH} */
export function encodeValue(value: Json): string {
  const text = JSON.stringify(value);
  if (text.length > MAX_DOCUMENT_LENGTH)
    throw new RangeError(`a document has at most ${MAX_DOCUMENT_LENGTH} characters of JSON, not ${text.length}`);
  return text;
}

/** The largest signal, characters of JSON: every node reads it. */
export const MAX_SIGNAL_LENGTH = 1024 * 1024;

/** @throws {RangeError} larger than {@link MAX_SIGNAL_LENGTH} */
export function checkSignal(message: Json): void {
  const { length } = JSON.stringify(message);
  if (length > MAX_SIGNAL_LENGTH)
    throw new RangeError(`a signal has at most ${MAX_SIGNAL_LENGTH} characters of JSON, not ${length}`);
}
