import type { PublicationPage } from "../../platform/publication-log.ts";
import type { SessionCursorOptions } from "./session-delivery.ts";

interface CurrentPage {
  readonly page: PublicationPage;
  /** The index of the next publication. */
  at: number;
}

/** Reads the log for a session that is behind, page by page. */
export class SessionBacklog {
  readonly #options: SessionCursorOptions;
  /** The log has been read up to this position for this connection. */
  next = 0;
  /** The page that is being sent. */
  current: CurrentPage | undefined;
  isReading = false;

  constructor(options: SessionCursorOptions) {
    this.#options = options;
  }

  /** Begins the next page if memory has it. */
  begin(): CurrentPage | undefined {
    const page = this.#options.log.recent(this.next);
    this.current = page && { page, at: 0 };
    return this.current;
  }

  /** Reads the next page from the store. @param isWanted false: the page is of no use any more @param then whatever happened */
  async read(isWanted: () => boolean, then: () => void): Promise<void> {
    const { log, onMissing, onReadFailed } = this.#options;
    this.isReading = true;
    let failure: unknown;
    try {
      const page = await log.read(this.next);
      if (isWanted()) {
        if (page.missing !== undefined) onMissing(page.missing);
        this.current = { page, at: 0 };
      }
    } catch (error) {
      failure = error ?? new Error("unknown");
    }
    this.isReading = false;
    if (failure === undefined) {
      then();
      return;
    }
    onReadFailed(failure);
    const { retry = (work) => void setTimeout(work, 1_000).unref() } = this.#options;
    retry(then);
  }
}
