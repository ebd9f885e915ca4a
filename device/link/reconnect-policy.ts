import { type BackoffOptions, backoffMs } from "../../platform/backoff.ts";

/** A link is stable if the server did not close it within this time: it may close the next one as early. */
const STABLE_MS = 60_000;
/** A link that broke by itself was useful if it lasted this long: bad links break all day. */
const USEFUL_MS = 5000;
/** The camera reports this many early closes in a row: they are no accident. */
const CLOSED_TO_REPORT = 3;
/** Error codes of a connection that the server closed. A close without an error is also by the server. */
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
