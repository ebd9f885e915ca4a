import { type BackoffOptions, backoffMs } from "../../platform/backoff.ts";

/** A link that the server ended sooner than this has not lasted: it may end the next one just as soon. Milliseconds. */
const LASTED_MS = 60_000;
/** A link that broke by itself has lasted when it carried something: bad links break all day, and each minute counts. */
const CARRIED_MS = 5000;
/** So many links in a row that the server ended soon are no accident. */
const ENDED_TO_SAY = 3;
/** Errors by which the other side says that it ended the connection; no error says so too. */
const ENDED_BY_SERVER: ReadonlySet<string> = new Set(["ECONNRESET", "EPIPE"]);

export interface EndedLink {
  /** From the birth's PUBACK to the end, milliseconds; undefined for one that never came up. */
  lastedMs: number | undefined;
  error: Error | undefined;
}

export interface NextTry {
  waitMs: number;
  /** Links in a row that the server ended soon after they came up: given once they are {@link ENDED_TO_SAY}. */
  endedInARow: number | undefined;
}

/**
 * When to connect again. The back-off begins anew only after a link that has lasted: two devices with one id, which take
 * the link from each other, would otherwise reconnect every second for ever (62 connections a minute were measured,
 * 8 MB an hour), and so would a camera whose server ends each link over a message.
 */
export class Reconnects {
  readonly #options: BackoffOptions;
  #attempt = 0;
  #ended = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  after({ lastedMs, error }: EndedLink, random: () => number = Math.random): NextTry {
    if (lastedMs !== undefined) {
      const byServer = isByServer(error);
      if (lastedMs >= (byServer ? LASTED_MS : CARRIED_MS)) {
        this.#attempt = 0;
        this.#ended = 0;
      } else if (byServer) this.#ended++;
    }
    const waitMs = backoffMs(this.#attempt++, this.#options, random);
    const isNews = lastedMs !== undefined && this.#ended >= ENDED_TO_SAY;
    return { waitMs, endedInARow: isNews ? this.#ended : undefined };
  }
}

function isByServer(error: Error | undefined): boolean {
  if (error === undefined) return true;
  return "code" in error && typeof error.code === "string" && ENDED_BY_SERVER.has(error.code);
}
