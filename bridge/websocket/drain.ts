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
export async function drainConnections(list: () => readonly Connection[], spreadMs: number, isDone: () => boolean) {
  const perStep = Math.ceil(Math.max(CLOSES_PER_MS, list().length / Math.max(1, spreadMs)) * STEP_MS);
  while (!isDone()) {
    let left = perStep;
    for (const connection of list()) {
      if (!connection.open) continue;
      if (left-- <= 0) break;
      connection.close(CloseCode.shutdown, "the server is stopping");
    }
    if (left >= 0) return;
    await new Promise((resolve) => setTimeout(resolve, STEP_MS));
  }
}
