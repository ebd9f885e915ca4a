import type { CursorRecord } from "./session-delivery.ts";
import { messageIdOf, NOT_SENT_ID } from "./session-flights.ts";

/**
 * The record of a session after the store has lost everything above the position. Other publications get the lost positions
 * and their message ids. The client may hold these ids: it gets a PUBREL for each, which the record has in a place of its own.
 */
export function recordUpTo({ sent, open, filters }: CursorRecord, position: number): CursorRecord {
  const kept = open.filter(([at]) => at <= position);
  const taken = new Set(kept.map(([at]) => at));
  let place = Math.min(sent, position);
  for (const [at, qos, , messageId = messageIdOf(at)] of open) {
    if (at <= position || qos !== 2 || messageId === NOT_SENT_ID) continue;
    while (taken.has(place)) place--;
    if (place < 0) break;
    taken.add(place);
    kept.push([place, 2, 1, messageId]);
  }
  return { sent: Math.min(sent, position), open: kept, filters };
}
