import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { type EntriesRequest, PageCache } from "../../../bridge/delivery/page-cache.ts";
import type { Entry } from "../../../bridge/journal/journal.ts";
import { RecentEntries } from "../../../bridge/journal/recent-entries.ts";
import { openLevelJournal } from "../../../bridge/journal/stores/level/level.ts";
import { logger } from "../websocket/server.ts";

/**
 * Returns a function that reads pages. The entries are in memory, from position 11 on, alternately in the channels
 * `odd` and `even`.
 * @param lengths the lengths of the bodies
 * @returns a function that returns the number of events and the next position
 */
async function pagesOf(
  ...lengths: number[]
): Promise<(request: Partial<EntriesRequest>) => [number, number] | undefined> {
  const path = await mkdtemp(join(tmpdir(), "skylapse-pages-"));
  const limits = { path: join(path, "journal"), sync: false, retentionEvents: 10, retentionHours: 1 };
  const journal = await openLevelJournal({ ...limits, logger });
  onTestFinished(async () => {
    await journal.close();
    await rm(path, { recursive: true });
  });
  const recentEntries = new RecentEntries({ maxChars: 100 * 1_048_576 });
  recentEntries.push(lengths.map((length, index) => entryAt(11 + index, length)));
  const pages = new PageCache(journal, recentEntries);
  const request: EntriesRequest = {
    ...{ kind: "entries", channels: new Set(["odd", "even"]), begins: new Map(), reportedGaps: new Map() },
    ...{ after: 10, until: 10 + lengths.length, label: ({ channels }) => channels, coalesce: false, key: undefined },
  };
  return (part) => {
    const page = pages.fromMemory({ ...request, ...part });
    return page === undefined ? undefined : [page.events, page.next];
  };
}

function entryAt(position: number, length: number): Entry {
  const channels = position % 2 === 0 ? ["even"] : ["odd"];
  const body = "x".repeat(length);
  return { position, topic: "t", channels, camera: undefined, body, state: undefined, acceptedAt: 0 };
}

it("the page cache builds a page from the recent entries without reading the store, unless the page begins before these entries", async () => {
  const page = await pagesOf(1, 1, 1, 1, 1, 1);
  expect(page({})).toEqual([6, 16]);
  expect(page({ after: 12, channels: new Set(["even"]) })).toEqual([2, 16]);
  expect(page({ after: 12, channels: new Set(["even"]), until: 15 })).toEqual([1, 15]);
  expect(page({ channels: new Set(["none"]) })).toEqual([0, 16]);
  expect(page({ after: 9 })).toBeUndefined();
});

it("the page cache ends a page at 100 events, and returns where the next page begins", async () => {
  const page = await pagesOf(...Array.from({ length: 250 }, () => 1));
  expect(page({})).toEqual([100, 110]);
  expect(page({ after: 110 })).toEqual([100, 210]);
  expect(page({ after: 210 })).toEqual([50, 260]);
});

it("the page cache ends a page at 256 KiB, unless the first entry alone is larger", async () => {
  const page = await pagesOf(100_000, 100_000, 100_000, 300_000, 1);
  expect(page({})).toEqual([2, 12]);
  expect(page({ after: 12 })).toEqual([1, 13]);
  expect(page({ after: 13 })).toEqual([1, 14]);
  expect(page({ after: 14 })).toEqual([1, 15]);
});
