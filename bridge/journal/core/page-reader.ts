import type { JournalPage, ReadRequest, ReplayPage, ReplayRequest } from "../journal.ts";
import type { RecentEntries } from "../recent-entries.ts";
import type { JournalView } from "./journal-view.ts";
import { Page, type PageRequest, pageRequestOf } from "./page.ts";
import { WholePage } from "./whole-page.ts";

/** The entries in a store. */
export interface PageStore {
  /**
   * Reads a page of channels. A page that begins where entries are lost says so and continues after them; otherwise the
   * page ends before them. @throws {StoreUnavailableError}
   */
  readChannels(request: PageRequest): Promise<ReplayPage>;
  /**
   * Adds the next entries of the whole journal to the page. @throws {StoreUnavailableError}
   * @returns the highest position that retention may have removed: entries above it that are missing are lost
   */
  readWhole(page: WholePage): Promise<number>;
}

/** Entries served from memory before the event loop gets a turn: otherwise reading page after page blocks it. */
const SERVED_PER_TURN = 2_000;

/** Reads pages: the newest entries from memory, older ones from the store. */
export class PageReader {
  readonly #store: PageStore;
  #servedThisTurn = 0;

  constructor(store: PageStore) {
    this.#store = store;
  }

  async replay(request: ReplayRequest, { channels, recentEntries, head }: JournalView): Promise<ReplayPage> {
    const known = request.channels.map((name) => channels.get(name)).filter((channel) => channel !== undefined);
    const wanted = pageRequestOf(request, known, head);
    let page: ReplayPage = { entries: [], next: Math.max(request.after, wanted.until), done: true };
    if (wanted.after < wanted.until)
      page = (await this.#recent(wanted, recentEntries)) ?? (await this.#store.readChannels(wanted));
    // After reading, because retention may have removed entries meanwhile.
    const gap = channels.gapAfter(request.channels, request.after);
    return gap === undefined ? page : { ...page, gap };
  }

  async read(request: ReadRequest, { recentEntries, head }: JournalView): Promise<JournalPage> {
    const page = new WholePage(request, head);
    if (!recentEntries.reaches(request.after)) return page.finish(await this.#store.readWhole(page));
    recentEntries.read(page.after, page.until, page.take);
    // Recent entries have no gaps.
    return page.finish(0);
  }

  /** @returns undefined when the page must be read from the store */
  async #recent(request: PageRequest, recentEntries: RecentEntries): Promise<ReplayPage | undefined> {
    if (this.#servedThisTurn >= SERVED_PER_TURN) {
      await new Promise((resolve) => setImmediate(resolve));
      this.#servedThisTurn = 0;
    }
    if (!recentEntries.reaches(request.after)) return undefined;
    const page = new Page(request);
    recentEntries.read(request.after, request.until, page.takeIfRequested);
    const result = page.finish();
    this.#servedThisTurn += result.entries.length + 1;
    return result;
  }
}
