import { DASHBOARD } from "../../../../contract/channels.ts";
import type { Store } from "../../../../platform/level/store.ts";
import type { JournalPage, ReadRequest, ReplayPage, ReplayRequest } from "../../journal.ts";
import type { RecentEntries } from "../../recent-entries.ts";
import { type PageRequest, pageRequestOf, RecentPages, withTrimmedGap } from "../page.ts";
import { recentJournalPage, WholePage } from "../whole-page.ts";
import type { ChannelLog, ChannelLogs } from "./channel-logs.ts";
import type { KnownGaps } from "./known-gaps.ts";
import { gatherPage, readWhole, scanPage } from "./pages.ts";

export class Reader {
  readonly #channels: ChannelLogs;
  readonly #store: Store;
  readonly #recentEntries: RecentEntries;
  readonly #recentPages = new RecentPages();
  readonly #knownGaps: KnownGaps;

  constructor(channels: ChannelLogs, store: Store, recentEntries: RecentEntries, knownGaps: KnownGaps) {
    this.#channels = channels;
    this.#store = store;
    this.#recentEntries = recentEntries;
    this.#knownGaps = knownGaps;
  }

  async replay(request: ReplayRequest, head: number): Promise<ReplayPage> {
    const { channels, after } = request;
    const logs = channels.map((name) => this.#channels.get(name)).filter((log) => log !== undefined);
    const wanted = pageRequestOf(request, logs, head);
    if (wanted.after < wanted.until) return this.#withGap(await this.#read(wanted), request);
    return this.#withGap({ entries: [], next: Math.max(after, wanted.until), done: true }, request);
  }

  async read(request: ReadRequest, head: number): Promise<JournalPage> {
    const page = new WholePage(request, head);
    if (this.#recentEntries.reaches(request.after)) return recentJournalPage(this.#recentEntries, page);
    await this.#store.read((db) => readWhole(db, page));
    return page.finish(() => this.#channels.highestFloor());
  }

  async #read(request: PageRequest<ChannelLog>): Promise<ReplayPage> {
    const recent = await this.#recentPages.read(this.#recentEntries, request);
    if (recent !== undefined) return recent;
    const dashboard = request.logs.find((log) => log.name === DASHBOARD);
    // A scan of all entries is fast where the dashboard channel keeps nearly all of them. Below its floor, few remain.
    const scan = dashboard !== undefined && (request.logs.length === 1 || request.after >= dashboard.floor);
    const readPage = scan ? scanPage : gatherPage;
    return await this.#store.read((db) => readPage(db, request, this.#knownGaps));
  }

  #withGap(page: ReplayPage, request: ReplayRequest): ReplayPage {
    const trimmed = withTrimmedGap(page, request, (channel) => this.#channels.floorOf(channel));
    if (trimmed.gap !== undefined) return trimmed;
    const { channels, after } = request;
    for (const name of channels) {
      const gap = this.#knownGaps.next(name, after);
      if (gap !== undefined && gap.after <= after) return { ...page, gap: { after, before: gap.before } };
    }
    return page;
  }
}
