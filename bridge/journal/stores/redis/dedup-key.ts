import type { WaitingAppend } from "../../core/append-queue.ts";
import type { MessageOrigin } from "../../journal.ts";

/** Identifies a message: by session and sequence number if it has both, else by id. */
export type DedupKey =
  /** `name` identifies the session among the sessions of all senders. */
  { key: string; name: string; sender: string; session: string; seq: number } | { key: string; id: string };

export type Waiting = WaitingAppend<DedupKey>;

/** Ids and sessions belong to a sender. The length of the sender makes the concatenated name unambiguous. */
export function dedupKeyOf({ sender, session, seq, id }: MessageOrigin): DedupKey | undefined {
  if (session !== undefined && seq !== undefined && Number.isSafeInteger(seq) && seq >= 0) {
    const name = `${sender.length}:${sender}${session}`;
    return { key: `q${name}\n${seq}`, name, sender, session, seq };
  }
  if (id === undefined) return undefined;
  const name = `${sender.length}:${sender}${id}`;
  return { key: `d${name}`, id: name };
}
