import { CloseCode } from "../../contract/codes.ts";
import type { Connection } from "./connection.ts";

/** Goodbyes a millisecond: about as many newcomers as a node can greet. */
const GOODBYES_PER_MS = 1;
/** How often goodbyes are said. */
const STEP_MS = 20;

/**
 * Says goodbye to all connections, a few at a time, so that their clients do not all come to another node at one moment.
 * @param connections those that are there now
 * @param spreadMs how long it may take; a few connections need less
 * @param givenUp asked before each step
 */
export async function sendAway(
  connections: () => Iterable<Connection>,
  spreadMs: number,
  givenUp: () => boolean,
): Promise<void> {
  let count = 0;
  for (const _ of connections()) count++;
  const perStep = Math.ceil(Math.max(GOODBYES_PER_MS, count / Math.max(1, spreadMs)) * STEP_MS);
  while (!givenUp()) {
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
