import type { Appended, JournalMessage, MessageOrigin } from "../../journal.ts";

/** The callbacks of one append. */
export interface Waiter {
  resolve(appended: Appended): void;
  reject(error: unknown): void;
}

/**
 * Identifies a message: by session and sequence number if it has both, else by id. `name` identifies the session among
 * the sessions of all senders.
 */
export type DedupKey =
  | { key: string; name: string; sender: string; session: string; seq: number }
  | { key: string; id: string };

/** An append that is not durable yet. */
export interface Waiting extends Waiter {
  readonly message: JournalMessage;
  readonly dedupKey: DedupKey | undefined;
  /** The size by which the limits on bytes are checked. */
  readonly cost: number;
  /**
   * Appends of the same message that arrived meanwhile. They resolve as duplicates, or fail, together with this one.
   */
  repetitions: Waiter[] | undefined;
}

/** Ids and sessions are kept per sender. The length of the sender makes the concatenated name unambiguous. */
export function dedupKeyOf({ sender, session, seq, id }: MessageOrigin): DedupKey | undefined {
  if (session !== undefined && seq !== undefined && Number.isSafeInteger(seq) && seq >= 0) {
    const name = `${sender.length}:${sender}${session}`;
    return { key: `q${name}\n${seq}`, name, sender, session, seq };
  }
  if (id === undefined) return undefined;
  const name = `${sender.length}:${sender}${id}`;
  return { key: `d${name}`, id: name };
}
