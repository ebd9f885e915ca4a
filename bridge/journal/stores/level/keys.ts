/**
 * Keys of the store. The first letter says what a row is; a position is always the last 16 characters, zero-padded, so
 * that byte order is order of position. Names that come from outside are either checked (channels), carry their
 * length (senders) or stand alone behind the letter (topics): no text can reach into another row's key.
 *
 * | key | value |
 * |---|---|
 * | `a` | the journal's epoch and what it remembers of forgotten channels |
 * | `f` channel | floor of a channel: what retention dropped |
 * | `i` channel `!` last position | span: which entries of a chunk are the channel's |
 * | `d` sender, id | position; ids of messages without session and seq |
 * | `h` | newest position, written when entries are removed |
 * | `m` last position | chunk: up to 30 entries |
 * | `q` sender, session | sequence numbers seen |
 * | `s` topic | last value of a retained topic |
 * | `u` last position | what MQTT subscribers are still to get |
 * | `v` last position | what of it they got, where that is not all |
 */
export const META_KEY = "a";
export const HEAD_KEY = "h";

const DIGITS = 16;

function padded(position: number): string {
  return String(position).padStart(DIGITS, "0");
}

export function positionOfKey(key: string): number {
  return Number(key.slice(-DIGITS));
}

export function chunkKey(last: number): string {
  return `m${padded(last)}`;
}

export function floorKey(channel: string): string {
  return `f${channel}`;
}

/** `!` sorts below every character of a channel's name and is in none. */
export function spanKey(channel: string, last: number): string {
  return `i${channel}!${padded(last)}`;
}

/** The first key behind all spans of a channel. */
export function spansEnd(channel: string): string {
  return `i${channel}"`;
}

export function channelOfSpanKey(key: string): string {
  return key.slice(1, key.indexOf("!"));
}

export function idKey(sender: string, id: string): string {
  return `d${sender.length}:${sender}${id}`;
}

export function sessionKey(sender: string, session: string): string {
  return `q${sender.length}:${sender}${session}`;
}

export function partsOfSessionKey(key: string): { sender: string; name: string } {
  const from = key.indexOf(":") + 1;
  const end = from + Number(key.slice(1, from - 1));
  return { sender: key.slice(from, end), name: key.slice(end) };
}

export function stateKey(topic: string): string {
  return `s${topic}`;
}

export function undeliveredKey(last: number): string {
  return `u${padded(last)}`;
}

export function partlyDeliveredKey(last: number): string {
  return `v${padded(last)}`;
}

/** The rows of one letter, as the range of an iterator. */
export function rowsOf(letter: string): { gte: string; lt: string } {
  return { gte: letter, lt: String.fromCharCode(letter.charCodeAt(0) + 1) };
}
