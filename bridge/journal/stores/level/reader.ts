import { DASHBOARD } from "../../../../contract/channels.ts";
import type { Store } from "../../../../platform/level/store.ts";
import type { JournalPage, ReadRequest, ReplayPage, ReplayRequest } from "../../journal.ts";
import type { RecentEntries } from "../../recent-entries.ts";
import { recentJournalPage, WholePage } from "../../whole-page.ts";
import type { ChannelLogs } from "./channel-logs.ts";
import type { KnownGaps } from "./known-gaps.ts";
import { gatherPage, type PageRequest, readWhole, recentPage, scanPage } from "./pages.ts";

const DEFAULT_PAGE_EVENTS = 100;
const DEFAULT_PAGE_BYTES = 256 * 1024;
/** Entries served from memory per turn of the event loop, so that reading page after page yields now and then. */
const SERVED_PER_TURN = 2_000;

/** Reads pages of channels from memory or from the store. */
export class Reader {
  readonly #channels: ChannelLogs;
  readonly #store: Store;
  readonly #recentEntries: RecentEntries;
  readonly #knownGaps: KnownGaps;
  #servedThisTurn = 0;

  constructor(channels: ChannelLogs, store: Store, recentEntries: RecentEntries, knownGaps: KnownGaps) {
    this.#knownGaps = knownGaps;
    this.#channels = channels;
    this.#store = store;
    this.#recentEntries = recentEntries;
  }

  /** @throws {StoreUnavailableError} the store cannot be read */
  async replay(request: ReplayRequest, head: number): Promise<ReplayPage> {
    const { channels, after } = request;
    const until = Math.min(request.until ?? head, head);
    const logs = channels.map((name) => this.#channels.get(name)).filter((log) => log !== undefined);
    // The channels have no entries below the lowest of their floors.
    const from = Math.max(after, Math.min(...logs.map((log) => log.floor)));
    if (from >= until) return this.#withGap({ entries: [], next: Math.max(after, until), done: true }, request);
    const page = await this.#read({
      logs,
      after: from,
      until,
      maxEvents: Math.max(1, request.maxEvents ?? DEFAULT_PAGE_EVENTS),
      maxBytes: request.maxBytes ?? DEFAULT_PAGE_BYTES,
    });
    return this.#withGap(page, request);
  }

  /** Reads a page of all channels. @throws {StoreUnavailableError} the store cannot be read */
  async read({ after, maxEvents, maxBytes }: ReadRequest, head: number): Promise<JournalPage> {
    const page = new WholePage({
      after,
      until: head,
      maxEvents: Math.max(1, maxEvents ?? DEFAULT_PAGE_EVENTS),
      maxBytes: maxBytes ?? DEFAULT_PAGE_BYTES,
    });
    if (this.#recentEntries.reaches(after)) return recentJournalPage(this.#recentEntries, page);
    await this.#store.read((db) => readWhole(db, page));
    return page.finish(() => this.#channels.highestFloor());
  }

  async #read(request: PageRequest): Promise<ReplayPage> {
    if (this.#servedThisTurn >= SERVED_PER_TURN) {
      await new Promise((resolve) => setImmediate(resolve));
      this.#servedThisTurn = 0;
    }
    if (this.#recentEntries.reaches(request.after)) {
      const page = recentPage(this.#recentEntries, request);
      this.#servedThisTurn += page.entries.length + 1;
      return page;
    }
    const dashboard = request.logs.find((log) => log.name === DASHBOARD);
    // The dashboard channel carries nearly all events. Below its floor only a few entries of quieter channels remain.
    const scan = dashboard !== undefined && (request.logs.length === 1 || request.after >= dashboard.floor);
    return await this.#store.read((db) =>
      scan ? scanPage(db, request, this.#knownGaps) : gatherPage(db, request, this.#knownGaps),
    );
  }

  /** Adds the gap to the page. The gap is determined after reading, because retention may remove entries meanwhile. */
  #withGap(page: ReplayPage, { channels, after }: ReplayRequest): ReplayPage {
    let floor = 0;
    for (const name of channels) floor = Math.max(floor, this.#channels.floorOf(name));
    if (floor > after) return { ...page, gap: { after, before: floor + 1 } };
    for (const name of channels) {
      const gap = this.#knownGaps.next(name, after);
      if (gap !== undefined && gap.after <= after) return { ...page, gap: { after, before: gap.before } };
    }
    return page;
  }
}
