import type { WriteSet } from "../../../../platform/level/write-set.ts";
import type { LoggedPublication } from "../../../../platform/publication-log.ts";
import type { WaitingAppend } from "../../core/append-queue.ts";
import { keepingChannels } from "../../core/channels.ts";
import type { JournalView } from "../../core/journal-view.ts";
import type { StateChanges } from "../../core/state-table.ts";
import type { Entry, Publication } from "../../journal.ts";
import { countBits } from "./bit-mask.ts";
import type { ChannelLog, ChannelLogs } from "./channel-logs.ts";
import { ChunkBuilder, MAX_CHUNK_CHANNELS, MAX_CHUNK_CHARS, MAX_CHUNK_ENTRIES, type Span } from "./chunk.ts";
import type { DedupKey, Deduplicator } from "./deduplicator.ts";
import { chunkKey, incomingKey, openKey, publicationsKey, retainedKey, spanKey } from "./keys.ts";
import { PublicationsBuilder, publicationRow } from "./publications.ts";
import { putStates } from "./state-rows.ts";

export type Waiting = WaitingAppend<DedupKey<Waiting>>;

/** The messages of one write, and the changes that become visible once the write is durable. */
export interface Group {
  messages: readonly Waiting[];
  entries: Entry[];
  spans: Span[];
  changes: StateChanges;
  /** The messages for MQTT subscribers, and the size of their row. */
  publications: readonly LoggedPublication[];
  publicationBytes: number;
  /** The first topic whose state was not stored because the state table is full. */
  skippedStateTopic: string | undefined;
}

interface GroupContext {
  channels: ChannelLogs;
  deduplicator: Deduplicator<Waiting>;
  view: JournalView;
  acceptedAt: number;
}

/** Assigns positions to messages, in order, and adds their rows to `set`. */
export function buildGroup(waiting: readonly Waiting[], context: GroupContext, set: WriteSet): Group {
  const { channels, deduplicator, acceptedAt } = context;
  const { states, head } = context.view;
  const entries: Entry[] = [];
  const spans: Span[] = [];
  const changes: StateChanges = new Map();
  const publications = new PublicationsBuilder();
  const group: Group = {
    ...{ messages: waiting, entries, spans, changes, skippedStateTopic: undefined },
    ...{ publications: publications.publications, publicationBytes: 0 },
  };
  let chunk = new ChunkBuilder(acceptedAt);
  let chunkLogs: ChannelLog[] = [];
  let position = head;

  const endChunk = () => {
    if (chunk.size === 0) return;
    set.put(chunkKey(position), chunk.toString());
    spans.push(putSpans(position, acceptedAt, chunk, chunkLogs, set));
    chunk = new ChunkBuilder(acceptedAt);
    chunkLogs = [];
  };

  for (const { message, dedupKey } of waiting) {
    const names = keepingChannels(message.channels);
    if (chunk.size >= MAX_CHUNK_ENTRIES || chunk.chars >= MAX_CHUNK_CHARS) endChunk();
    else if (chunkLogs.length + names.length > MAX_CHUNK_CHANNELS && addsTooMany(names, channels, chunkLogs))
      endChunk();
    position++;
    const { topic, channels: list, camera, body, state } = message;
    const entry: Entry = { position, topic, channels: list, camera, body, state, acceptedAt };
    for (const name of names) {
      const log = channels.of(name);
      if (log.mask === 0) chunkLogs.push(log);
      log.mask |= 1 << chunk.size;
    }
    chunk.add(entry, dedupKey?.idKey);
    entries.push(entry);
    if (dedupKey !== undefined) deduplicator.writing(dedupKey, position, set);
    const { publish, open, incomingId } = message;
    if (publish !== undefined) {
      publications.add(position, topic, publish);
      if (publish.retain) putRetained(position, topic, publish, set);
    }
    if (open !== undefined) set.put(openKey(position), publicationRow(position, topic, open));
    if (incomingId !== undefined) set.put(incomingKey(incomingId), "");
    if (state !== undefined && !states.note(entry, changes)) group.skippedStateTopic ??= topic;
  }
  endChunk();

  deduplicator.putSessions(waiting, position, set);
  putStates(changes, set);
  const rows = context.view.publications;
  if (publications.publications.length > 0 && rows.isStored) {
    const row = publications.toBytes(rows.last, acceptedAt);
    set.put(publicationsKey(position), row);
    group.publicationBytes = row.length;
  }
  return group;
}

function putRetained(position: number, topic: string, publication: Publication, set: WriteSet): void {
  if (publication.payload.byteLength === 0) set.del(retainedKey(topic));
  else set.put(retainedKey(topic), publicationRow(position, topic, publication));
}

function addsTooMany(names: readonly string[], channels: ChannelLogs, chunkLogs: readonly ChannelLog[]): boolean {
  let count = chunkLogs.length;
  for (const name of names) if ((channels.get(name)?.mask ?? 0) === 0) count++;
  return count > MAX_CHUNK_CHANNELS;
}

function putSpans(
  last: number,
  acceptedAt: number,
  chunk: ChunkBuilder,
  logs: readonly ChannelLog[],
  set: WriteSet,
): Span {
  const span: Span = [acceptedAt, chunk.hasIds, chunk.size, [], [], []];
  const [, , , names, masks, before] = span;
  for (const log of logs) {
    names.push(log.name);
    masks.push(log.mask);
    before.push(log.writing);
    log.writing += countBits(log.mask);
    log.mask = 0;
  }
  const text = JSON.stringify(span);
  for (const name of names) set.put(spanKey(name, last), text);
  return span;
}
