/**
 * The keys of the store. The first letter is the type of the row. A position is always the last 16 characters,
 * zero-padded, so that the order of keys is the order of positions. No name from outside can produce the key of another
 * row: channel names are validated, sender names are preceded by their length, and topics are the whole rest of the
 * key.
 *
 * | key | value |
 * |---|---|
 * | `a` | the epoch of the journal, and the highest floor of removed channels |
 * | `f` channel | the floor of the channel, and how many of its entries retention removed |
 * | `i` channel `!` last position | a span: which entries of a chunk belong to the channel |
 * | `d` sender, id | the position of a message without session and sequence number |
 * | `h` | the newest position, written when entries are removed and at shutdown |
 * | `m` last position | a chunk: up to 30 entries |
 * | `q` sender, session | ranges of received sequence numbers |
 * | `s` topic | the newest value of a retained topic |
 * | `u` last position | the publications of one write for MQTT subscribers |
 * | `v` last position | the positions of those publications that are not delivered yet, if some are delivered |
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

/** A channel name never contains `!`, which sorts before all its characters. */
export function spanKey(channel: string, last: number): string {
  return `i${channel}!${padded(last)}`;
}

/** The first key after all spans of a channel. */
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

/** The range of all rows of one type, for an iterator. */
export function rowsOf(letter: string): { gte: string; lt: string } {
  return { gte: letter, lt: String.fromCharCode(letter.charCodeAt(0) + 1) };
}
