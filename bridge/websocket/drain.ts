import { CloseCode } from "../../contract/codes.ts";
import type { Connection } from "./connection.ts";

/** Connections closed per millisecond: about as many as another node admits. */
const CLOSES_PER_MS = 1;
/** Milliseconds between two steps. */
const STEP_MS = 20;

/**
 * Closes all connections, a few at a time, so that their clients do not all connect to another node at one moment.
 * @param spreadMs the longest duration; a few connections take less
 */
export async function drainConnections(
  connections: () => Iterable<Connection>,
  spreadMs: number,
  isCancelled: () => boolean,
): Promise<void> {
  let count = 0;
  for (const _ of connections()) count++;
  const perStep = Math.ceil(Math.max(CLOSES_PER_MS, count / Math.max(1, spreadMs)) * STEP_MS);
  while (!isCancelled()) {
    let left = perStep;
    for (const connection of connections()) {
      if (!connection.open) continue;
      if (left-- <= 0) break;
      connection.close(CloseCode.shutdown, "the server is stopping");
    }
    if (left >= 0) return;
    await new Promise((resolve) => setTimeout(resolve, STEP_MS));
  }
}
