import { type BackoffOptions, backoffMs } from "../../platform/backoff.ts";

/** A link that the server closes within this time is not stable: the server may close the next link as early. */
const STABLE_MS = 60_000;
/** A link that breaks and was not closed by the server is stable if it lasted this long: bad links break all day. */
const USEFUL_MS = 5000;
/** After this many early closes in a row, which are no accident, the camera reports them. */
const CLOSED_TO_REPORT = 3;
/** Error codes of a connection that the server closed. A close without an error comes from the server too. */
const CLOSED_BY_SERVER: ReadonlySet<string> = new Set(["ECONNRESET", "EPIPE"]);

/**
 * Decides when to reconnect. Only a stable link resets the back-off. Otherwise two devices with the same id, which
 * close each other's link, would reconnect every second for ever (measured: 62 connections a minute, 8 MB an hour). So
 * would a camera whose server closes each link because of a message.
 */
export class ReconnectPolicy {
  readonly #options: BackoffOptions;
  #attempt = 0;
  #closedInARow = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** @param link `lastedMs` is undefined for a link that never came up */
  after(link: { lastedMs: number | undefined; error: Error | undefined }, random: () => number = Math.random) {
    const { lastedMs, error } = link;
    if (lastedMs !== undefined) {
      const byServer = isByServer(error);
      if (lastedMs >= (byServer ? STABLE_MS : USEFUL_MS)) {
        this.#attempt = 0;
        this.#closedInARow = 0;
      } else if (byServer) this.#closedInARow++;
    }
    const waitMs = backoffMs(this.#attempt++, this.#options, random);
    const isReported = lastedMs !== undefined && this.#closedInARow >= CLOSED_TO_REPORT;
    return { waitMs, closedInARow: isReported ? this.#closedInARow : undefined };
  }
}

function isByServer(error: Error | undefined): boolean {
  if (error === undefined) return true;
  return "code" in error && typeof error.code === "string" && CLOSED_BY_SERVER.has(error.code);
}
