import type { LoggedPublication } from "../../../../platform/publication-log.ts";
import type { Fence } from "../../../cluster/cluster.ts";
import { keepingChannels } from "../../core/channels.ts";
import { loggedPublication } from "../../core/publication-frames.ts";
import type { Entry, JournalMessage } from "../../journal.ts";
import { encodeEntries, MAX_CHUNK_CHARS, MAX_CHUNK_ENTRIES, MAX_CHUNK_PAYLOAD_BYTES } from "./chunk.ts";
import type { Waiting } from "./dedup-key.ts";
import type { JournalKeys } from "./keys.ts";
import { encodeOpen, encodeRow } from "./publication-rows.ts";

/** How long the id of a QoS 2 publication is kept when its PUBREL does not arrive, seconds. */
export const INCOMING_ID_SECONDS = 7 * 24 * 3_600;

/** The messages of one call of the append script. */
export class Batch {
  readonly number: number;
  readonly messages: readonly Waiting[];
  readonly acceptedAt: number;
  /** For each chunk: the index of its first message. */
  readonly starts: readonly number[];
  /** For each chunk: the size of the row with its publications. */
  readonly rowBytes: number[] = [];
  /** Whether replicas have the batch, if they must: before, its appends have no result. */
  isReplicated = true;

  constructor(number: number, messages: readonly Waiting[], acceptedAt: number) {
    this.number = number;
    this.messages = messages;
    this.acceptedAt = acceptedAt;
    this.starts = chunkStarts(messages);
  }

  get size(): number {
    return this.messages.length;
  }

  /** The index after the last message of the chunk that begins at `offset`. */
  endOfChunk(offset: number): number {
    return this.starts.find((start) => start > offset) ?? this.size;
  }

  /** The entries from the index `from` to below `until`. @param base the position before the batch */
  entries(base: number, from: number, until: number): Entry[] {
    const entries: Entry[] = [];
    for (let index = from; index < until; index++) {
      const waiting = this.messages[index];
      if (waiting === undefined) continue;
      const { topic, channels, camera, body, state } = waiting.message;
      entries.push({ position: base + index + 1, topic, channels, camera, body, state, acceptedAt: this.acceptedAt });
    }
    return entries;
  }

  /** The publications from the index `from` to below `until`. @param base the position before the batch */
  publications(base: number, from: number, until: number): LoggedPublication[] {
    const publications: LoggedPublication[] = [];
    for (let index = from; index < until; index++) {
      const { topic, publish } = this.messages[index]?.message ?? {};
      if (topic !== undefined && publish !== undefined)
        publications.push(loggedPublication(base + index + 1, topic, publish));
    }
    return publications;
  }

  /** The positions of the commands in the batch. @param base the position before the batch */
  openPositions(base: number): number[] {
    return this.messages.flatMap(({ message }, index) => (message.open === undefined ? [] : [base + index + 1]));
  }

  /** Adds the arguments of the `APPEND` script that describe the batch. */
  putArguments(args: (string | number | Buffer)[], { lease }: Pick<JournalKeys, "lease">): void {
    const messages = this.messages.map(({ message }) => message);
    putFences(messages, lease, args);
    putWills(messages, args);
    this.#putDedupKeys(args);
    putQuotas(messages, args);
    args.push(this.starts.length);
    for (const [index, start] of this.starts.entries())
      this.#putChunk(messages, start, this.starts[index + 1] ?? messages.length, args);
    putStates(messages, args);
  }

  /** Adds the arguments for commands that the relay has not finished. */
  putOpen(args: (string | number | Buffer)[]): void {
    const countAt = args.push(0) - 1;
    let count = 0;
    for (let index = 0; index < this.messages.length; index++) {
      const message = this.messages[index]?.message;
      if (message?.open === undefined) continue;
      args.push(index + 1, encodeOpen(message.topic, message.open));
      count++;
    }
    args[countAt] = count;
  }

  /** Adds the arguments for the ids of incoming QoS 2 publications. */
  putIncomingIds(args: (string | number | Buffer)[]): void {
    const countAt = args.push(0) - 1;
    let count = 0;
    for (const { message } of this.messages) {
      if (message.incomingId === undefined) continue;
      args.push(message.incomingId.session, message.incomingId.messageId);
      count++;
    }
    args[countAt] = count;
    args.push(INCOMING_ID_SECONDS);
  }

  #putDedupKeys(args: (string | number | Buffer)[]): void {
    const sessions = new Map<string, { sender: string; session: string; seqs: string; places: string }>();
    const ids: (string | number)[] = [];
    for (let index = 0; index < this.messages.length; index++) {
      const dedupKey = this.messages[index]?.dedupKey;
      if (dedupKey === undefined) continue;
      if ("id" in dedupKey) ids.push(dedupKey.id, index + 1);
      else {
        const { name, sender, session, seq } = dedupKey;
        const known = sessions.get(name);
        if (known === undefined) sessions.set(name, { sender, session, seqs: `${seq}`, places: `${index + 1}` });
        else {
          known.seqs += ` ${seq}`;
          known.places += ` ${index + 1}`;
        }
      }
    }
    args.push(sessions.size);
    for (const { sender, session, seqs, places } of sessions.values()) args.push(sender, session, seqs, places);
    args.push(ids.length / 2);
    for (const part of ids) args.push(part);
  }

  #putChunk(messages: readonly JournalMessage[], start: number, end: number, args: (string | number | Buffer)[]): void {
    const distances = new Map<string, string>();
    const ids: string[] = [];
    let holders = "";
    for (let index = start; index < end; index++) {
      const dedupKey = this.messages[index]?.dedupKey;
      if (dedupKey !== undefined && "id" in dedupKey) ids.push(dedupKey.id);
      const names = keepingChannels(messages[index]?.channels ?? []);
      const distance = String.fromCharCode(end - 1 - index);
      // If a message names a channel twice, the channel still gets one entry.
      let count = 0;
      for (const name of names) {
        const known = distances.get(name);
        if (known?.endsWith(distance)) continue;
        distances.set(name, known === undefined ? distance : known + distance);
        count++;
      }
      holders += String.fromCharCode(count);
    }
    args.push(end - start, encodeEntries(messages.slice(start, end)), holders);
    args.push(ids.length === 0 ? "" : JSON.stringify(ids));
    this.#putPublications(start, end, args);
    args.push(distances.size);
    for (const [name, places] of distances) args.push(name, places);
  }

  #putPublications(start: number, end: number, args: (string | number | Buffer)[]): void {
    const row = encodeRow(this.messages, start, end);
    this.rowBytes.push(row.bytes.length);
    args.push(row.bytes.length === 0 ? "" : row.bytes, row.retained.length);
    for (const [topic, index, first, last] of row.retained) args.push(topic, index + 1, first, last);
  }
}

function chunkStarts(messages: readonly Waiting[]): number[] {
  const starts: number[] = [];
  let chars = 0;
  let payloadBytes = 0;
  for (let index = 0; index < messages.length; index++) {
    const message = messages[index]?.message;
    chars += (message?.body.length ?? 0) + (message?.topic.length ?? 0);
    payloadBytes += bytesOf(message);
    const start = starts.at(-1);
    const isSmall = chars <= MAX_CHUNK_CHARS && payloadBytes <= MAX_CHUNK_PAYLOAD_BYTES;
    if (start !== undefined && index - start < MAX_CHUNK_ENTRIES && isSmall) continue;
    starts.push(index);
    chars = message?.body.length ?? 0;
    payloadBytes = bytesOf(message);
  }
  return starts;
}

/** The bytes of the payload in the log: a publication that names a payload has none. */
function bytesOf(message: JournalMessage | undefined): number {
  const publish = message?.publish;
  return publish === undefined || publish.reference !== undefined ? 0 : publish.payload.byteLength;
}

/** Adds the fences of the messages, each once, with the places of its messages. */
function putFences(
  messages: readonly JournalMessage[],
  lease: JournalKeys["lease"],
  args: (string | number | Buffer)[],
): void {
  const places = new Map<string, { fence: Fence; places: string }>();
  for (let index = 0; index < messages.length; index++) {
    const fence = messages[index]?.fence;
    if (fence === undefined) continue;
    const key = `${fence.number} ${fence.lease}`;
    places.set(key, { fence, places: `${places.get(key)?.places ?? ""}${index + 1} ` });
  }
  args.push(places.size);
  for (const { fence, places: of } of places.values()) args.push(lease(fence.lease), fence.number, of);
}

/** Adds the clients of wills, each with the place of its message. */
function putWills(messages: readonly JournalMessage[], args: (string | number | Buffer)[]): void {
  const countAt = args.push(0) - 1;
  for (let index = 0; index < messages.length; index++) {
    const client = messages[index]?.willOf;
    if (client !== undefined) args.push(client, index + 1);
  }
  args[countAt] = (args.length - 1 - countAt) / 2;
}

/** Adds the limits of retained messages, each with the place of its message. */
function putQuotas(messages: readonly JournalMessage[], args: (string | number | Buffer)[]): void {
  const countAt = args.push(0) - 1;
  let count = 0;
  for (let index = 0; index < messages.length; index++) {
    const { topic, quota, publish } = messages[index] ?? {};
    if (topic === undefined || quota === undefined || publish?.retain !== true) continue;
    const { owner = "", maxOfOwner, maxOfAll } = quota;
    args.push(topic, owner, limitOf(maxOfOwner), limitOf(maxOfAll), index + 1);
    count++;
  }
  args[countAt] = count;
}

const limitOf = (max: number) => (Number.isFinite(max) ? max : -1);

/** Adds the last state change of each topic in the batch. */
function putStates(messages: readonly JournalMessage[], args: (string | number | Buffer)[]): void {
  const places = new Map<string, number>();
  for (let index = 0; index < messages.length; index++) {
    const message = messages[index];
    if (message?.state === undefined) continue;
    places.delete(message.topic);
    places.set(message.topic, index);
  }
  args.push(places.size);
  for (const [topic, index] of places) {
    const message = messages[index];
    if (message === undefined) continue;
    args.push(topic, index + 1, message.state === "set" ? encodeEntries([message]) : "");
  }
}
