import type { Appended, JournalMessage, MessageOrigin } from "../../journal.ts";

/** Who waits for an append to be durable. */
export interface Waiter {
  resolve(appended: Appended): void;
  reject(error: unknown): void;
}

/** How a message is recognised: by sequence number, else by id, else not at all. `name` is the session's among all senders'. */
export type DedupKey =
  | { key: string; name: string; sender: string; session: string; seq: number }
  | { key: string; id: string };

/** An append that is not durable yet. */
export interface Waiting extends Waiter {
  readonly message: JournalMessage;
  readonly dedupKey: DedupKey | undefined;
  /** What it counts against the limits on bytes. */
  readonly cost: number;
  /** The same message, sent again meanwhile: it is as durable as this one gets. */
  repetitions: Waiter[] | undefined;
}

/** Ids and sessions belong to their sender, whose length keeps names apart that run into each other. */
export function dedupKeyOf({ sender, session, seq, id }: MessageOrigin): DedupKey | undefined {
  if (session !== undefined && seq !== undefined && Number.isSafeInteger(seq) && seq >= 0) {
    const name = `${sender.length}:${sender}${session}`;
    return { key: `q${name}\n${seq}`, name, sender, session, seq };
  }
  if (id === undefined) return undefined;
  const name = `${sender.length}:${sender}${id}`;
  return { key: `d${name}`, id: name };
}
