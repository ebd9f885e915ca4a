import type { IncomingId } from "../../../../platform/publication-log.ts";

/**
 * The keys of the store. The first letter is the type of the row. A position is always the last 16 characters,
 * zero-padded, so that the order of keys is the order of positions. No name from outside can produce the key of another
 * row: channel names are validated, a sender name follows its length, and a topic is the whole rest of its key.
 *
 * | key | value |
 * |---|---|
 * | `a` | the epoch of the journal, and the highest floor of removed channels |
 * | `f` channel | the floor of the channel, and how many of its entries retention removed |
 * | `i` channel `!` last position | a span: which entries of a chunk belong to the channel |
 * | `c` name | a row of the broker: a session or a will |
 * | `d` sender, id | the position of a message without session and sequence number |
 * | `h` | the newest position, written when entries are removed and at shutdown |
 * | `k` position | a command that the relay has not finished, as a row with one publication |
 * | `l` | publications up to this position were removed from the log of MQTT sessions |
 * | `m` last position | a chunk: up to 30 entries |
 * | `p` last position | the publications of one write for MQTT subscribers |
 * | `q` sender, session | ranges of received sequence numbers |
 * | `r` topic | the retained message of the topic, as a row with one publication |
 * | `s` topic | the newest value of a retained topic |
 * | `u` last position | of earlier versions: the publications of one write that are not delivered |
 * | `v` last position | of earlier versions: the undelivered positions of a `u` row, if some are delivered |
 * | `x` session, message id | the id of a QoS 2 publication whose PUBREL has not arrived |
 */
export const META_KEY = "a";
export const HEAD_KEY = "h";
export const LOG_FLOOR_KEY = "l";

const DIGITS = 16;
const padded = (position: number) => String(position).padStart(DIGITS, "0");

export const chunkKey = (last: number) => `m${padded(last)}`;
export const floorKey = (channel: string) => `f${channel}`;
/** A channel name never contains `!`, which sorts before all characters of channel names. */
export const spanKey = (channel: string, last: number) => `i${channel}!${padded(last)}`;
/** The first key after all spans of a channel. */
export const spansEnd = (channel: string) => `i${channel}"`;
export const idKey = (sender: string, id: string) => `d${sender.length}:${sender}${id}`;
export const sessionKey = (sender: string, session: string) => `q${sender.length}:${sender}${session}`;
export const stateKey = (topic: string) => `s${topic}`;
export const publicationsKey = (last: number) => `p${padded(last)}`;
export const partlyDeliveredKey = (last: number) => `v${padded(last)}`;

export const brokerKey = (name: string) => `c${name}`;
export const openKey = (position: number) => `k${padded(position)}`;
export const retainedKey = (topic: string) => `r${topic}`;
export const incomingKey = ({ session, messageId }: IncomingId) => `x${session.length}:${session}${messageId}`;

export const positionOfKey = (key: string) => Number(key.slice(-DIGITS));
/** The position of a key that LevelDB may have shortened to a prefix: digits that are missing are zeros. */
export const positionOfPrefix = (key: string) => Number.parseInt(key.slice(1).padEnd(DIGITS, "0").slice(0, DIGITS), 10);
export const channelOfSpanKey = (key: string) => key.slice(1, key.indexOf("!"));

export function partsOfSessionKey(key: string): { sender: string; name: string } {
  const from = key.indexOf(":") + 1;
  const end = from + Number(key.slice(1, from - 1));
  return { sender: key.slice(from, end), name: key.slice(end) };
}

export function partsOfIncomingKey(key: string): IncomingId {
  const { sender: session, name } = partsOfSessionKey(key);
  return { session, messageId: Number(name) };
}

/** The range of all rows of one type, for an iterator. */
export function rowsOf(letter: string): { gte: string; lt: string } {
  return { gte: letter, lt: String.fromCharCode(letter.charCodeAt(0) + 1) };
}
