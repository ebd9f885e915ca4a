import type { Logger } from "pino";
import { Item, type OutboxIndex } from "./outbox-index.ts";
import {
  bodyKey,
  DROPPED_KEY,
  decodeDropped,
  decodeMeta,
  decodeNumber,
  decodeNumbers,
  deletionsOf,
  FREE_SEQS_KEY,
  keyOf,
  LAST_SEQ_KEY,
  RowPrefix,
  withoutPrefix,
} from "./rows.ts";
import type { SequenceNumbers } from "./sequence-numbers.ts";
import type { Change, OutboxStore } from "./store.ts";

/** Reads the messages of an earlier run, and deletes invalid rows. @returns the next message's key */
export async function loadOutbox(
  store: OutboxStore,
  { index, numbers, dedupKeys }: { index: OutboxIndex; numbers: SequenceNumbers; dedupKeys: Set<string> },
  logger: Logger,
): Promise<number> {
  const seqs = new Map<number, number>();
  for await (const [row, text] of store.rows(RowPrefix.seq)) {
    const [key, seq] = [keyOf(row), decodeNumber(text)];
    if (key !== undefined && seq !== undefined) seqs.set(key, seq);
  }
  let nextKey = 1;
  const deletions: Change[] = [];
  for await (const [row, text] of store.rows(RowPrefix.meta)) {
    const [key, meta] = [keyOf(row), decodeMeta(text)];
    if (key === undefined || meta === undefined) {
      deletions.push([row, undefined], [RowPrefix.body + withoutPrefix(row), undefined]);
      continue;
    }
    const item = new Item(key, meta);
    item.seq = seqs.get(key);
    // The broker may have received a numbered message.
    item.sent = item.seq !== undefined;
    item.durable = true;
    for (const replaced of index.add(item)) deletions.push(...deletionsOf(replaced.key));
    nextKey = key + 1;
  }
  const bodies = new Set<string>();
  for (const { key } of index.items()) bodies.add(bodyKey(key));
  await store.keepLarge((row) => bodies.has(row));
  const single = new Map<string, string>();
  for await (const [row, text] of store.rows(RowPrefix.single)) single.set(row, text);
  for await (const [row] of store.rows(RowPrefix.dedupKey)) dedupKeys.add(withoutPrefix(row));
  const lastSeq = decodeNumber(single.get(LAST_SEQ_KEY) ?? "") ?? 0;
  numbers.restore(lastSeq, decodeNumbers(single.get(FREE_SEQS_KEY) ?? ""), new Set(seqs.values()));
  index.dropped = decodeDropped(single.get(DROPPED_KEY) ?? "");
  if (deletions.length > 0) {
    logger.warn({ rows: deletions.length }, "invalid or replaced outbox messages removed");
    store.write(deletions, () => {});
  }
  if (index.size > 0) logger.info({ messages: index.size }, "outbox holds messages of an earlier run");
  return nextKey;
}
