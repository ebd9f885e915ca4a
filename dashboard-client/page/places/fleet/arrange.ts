import type { RealTimeData } from "../../../state/dashboard-store.ts";
import { FILTERS, type FleetFilter, type FleetQuery, type FleetSort } from "./fleet-query.ts";
import { alertsByCamera, rankOf, type Summary, summaryOf } from "./fleet-summary.ts";

/** The cameras to show, in their order, and what there is to filter by. */
export interface Arrangement {
  ids: readonly string[];
  /** All cameras of the page, shown or not. */
  total: number;
  /** Cameras by filter, whatever is chosen now. */
  counts: Readonly<Record<FleetFilter, number>>;
  groups: readonly { id: string; name: string }[];
  tags: readonly string[];
}

const names = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
/** Up to this rank, a camera needs attention: see `RANK`. */
const LAST_OF_ATTENTION = 4;

export function arrange(data: Pick<RealTimeData, "cameras" | "alerts">, query: FleetQuery, now: number): Arrangement {
  const alerts = alertsByCamera(data.alerts);
  const counts = Object.fromEntries(FILTERS.map((filter) => [filter, 0])) as Record<FleetFilter, number>;
  const groups = new Map<string, string>();
  const tags = new Set<string>();
  const found: Found[] = [];
  const words = query.q.toLowerCase().split(/\s+/).filter(Boolean);
  for (const camera of data.cameras.values()) {
    const summary = summaryOf(camera, now);
    const rank = rankOf(summary, alerts.get(summary.id));
    const filters = filtersOf(summary, rank);
    for (const filter of filters) counts[filter]++;
    for (const { id, name } of summary.groups) groups.set(id, name);
    for (const tag of summary.tags) tags.add(tag);
    if (query.state !== undefined && !filters.includes(query.state)) continue;
    if (query.group !== "" && !summary.groups.some(({ id }) => id === query.group)) continue;
    if (query.tag !== "" && !summary.tags.includes(query.tag)) continue;
    if (words.every((word) => summary.words.includes(word))) found.push({ summary, rank });
  }
  const compare = COMPARE[query.sort];
  found.sort((one, other) => compare(one, other) || names.compare(one.summary.name, other.summary.name));
  return {
    ids: found.map(({ summary }) => summary.id),
    ...{ total: data.cameras.size, counts },
    groups: [...groups].map(([id, name]) => ({ id, name })).sort((one, other) => names.compare(one.name, other.name)),
    tags: [...tags].sort(names.compare),
  };
}

type Found = { summary: Summary; rank: number };

function filtersOf({ state }: Summary, rank: number): FleetFilter[] {
  const own = state === "overslept" ? "offline" : state;
  return rank <= LAST_OF_ATTENTION ? ["attention", own] : [own];
}

const COMPARE: Readonly<Record<FleetSort, (one: Found, other: Found) => number>> = {
  attention: (one, other) => one.rank - other.rank,
  name: () => 0,
  battery: ({ summary: one }, { summary: other }) => knownFirst(one.battery, other.battery),
  // The fullest storage first.
  storage: ({ summary: one }, { summary: other }) => -knownFirst(one.storage, other.storage, Number.NEGATIVE_INFINITY),
  picture: ({ summary: one }, { summary: other }) => knownFirst(one.pictureAt, other.pictureAt),
};

function knownFirst(one: number | undefined, other: number | undefined, unknown = Number.POSITIVE_INFINITY): number {
  const [first = unknown, second = unknown] = [one, other];
  return first === second ? 0 : first - second;
}

/** Whether two arrangements show the same. */
export function isSameArrangement(one: Arrangement, other: Arrangement): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
