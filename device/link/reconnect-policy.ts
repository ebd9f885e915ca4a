import { type BackoffOptions, backoffMs } from "../../platform/backoff.ts";

/** A link that the server closed earlier was not stable: the server may close the next one as early. */
const STABLE_MS = 60_000;
/** A link that broke by itself later was useful: bad links break all day. */
const USEFUL_MS = 5000;
/** This many early closes in a row are no accident, and are reported. */
const CLOSED_TO_REPORT = 3;
/** Error codes of a close by the server. A close without an error is the server's too. */
const CLOSED_BY_SERVER: ReadonlySet<string> = new Set(["ECONNRESET", "EPIPE"]);

export interface EndedLink {
  /** From the birth's PUBACK to the end; undefined without a birth. */
  lastedMs: number | undefined;
  error: Error | undefined;
}

export interface NextAttempt {
  waitMs: number;
  /** Early closes in a row by the server; undefined below {@link CLOSED_TO_REPORT}. */
  closedInARow: number | undefined;
}

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

  after({ lastedMs, error }: EndedLink, random: () => number = Math.random): NextAttempt {
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
