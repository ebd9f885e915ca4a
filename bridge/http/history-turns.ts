import type { ServerResponse } from "node:http";
import { Counts } from "../../platform/counts.ts";
import { FairQueue } from "../../platform/fair-queue.ts";
import { RequestError } from "./errors.ts";

/** The requests of one caller whose responses are not complete. Each may keep some megabytes in memory. */
export const MAX_OPEN_PER_CALLER = 8;
/** The queries that run at once. SQLite runs one after the other. */
const MAX_RUNNING = 4;
const MAX_RUNNING_PER_CALLER = 2;

/**
 * Keeps the history open for everybody. Without the limits, one user who began 600 exports and read none of them took
 * 1 GB of memory, and the page of another user waited for 23 seconds.
 */
export class HistoryTurns {
  readonly #open = new Counts();
  readonly #queue = new FairQueue({ maxRunning: MAX_RUNNING, maxPerOwner: MAX_RUNNING_PER_CALLER });

  /** Counts a request until its response is complete or its client is gone. @throws {RequestError} 429 */
  enter(caller: string, response: ServerResponse): void {
    if (this.#open.of(caller) >= MAX_OPEN_PER_CALLER)
      throw new RequestError(
        429,
        "limit",
        `At most ${MAX_OPEN_PER_CALLER} requests of one user may read the history at a time: wait until one is complete`,
      );
    if (response.destroyed) throw gone();
    this.#open.add(caller);
    response.once("close", () => this.#open.subtract(caller));
  }

  /** Runs a query when it is the caller's turn, unless the client is gone by then. */
  async query<Result>(caller: string, response: ServerResponse, run: () => Promise<Result>): Promise<Result> {
    return await this.#queue.run(caller, async () => {
      if (response.destroyed) throw gone();
      return await run();
    });
  }
}

/** Nobody receives this error. */
function gone(): RequestError {
  return new RequestError(408, "request_timeout", "The client has closed the connection");
}
