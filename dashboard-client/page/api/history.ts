import { useInfiniteQuery } from "@tanstack/react-query";
import { checked, isAnything, isFlag, list, number, object, optional, text } from "../../../contract/guards.ts";
import type { DashboardEvent } from "../../../contract/socket-messages.ts";
import { useServices } from "../services.tsx";

/** An event of the archive. It has the fields that dashboards receive. */
export interface PastEvent {
  epoch: string;
  position: number;
  accepted_at: string;
  kind: string;
  event: string;
  data?: unknown;
  timestamp: string;
  id?: string | undefined;
  camera?: string | undefined;
  topic?: string | undefined;
  historical?: boolean | undefined;
}

/** Positions that the archive lacks. */
export interface PastGap {
  epoch: string;
  after: number;
  before?: number | undefined;
  reason: string;
  noticed_at: string;
}

interface HistoryPage {
  events: PastEvent[];
  gaps: PastGap[];
  /** The path of the next page. */
  next?: string | undefined;
}

const MAX_PAGE_EVENTS = 1_000;

const isPage = object<HistoryPage>({
  events: list(
    object<PastEvent>({
      ...{ epoch: text(), position: number(), accepted_at: text(), kind: text(), event: text(), data: isAnything },
      ...{ timestamp: text(), id: optional(text()), camera: optional(text()), topic: optional(text()) },
      historical: optional(isFlag),
    }),
    MAX_PAGE_EVENTS,
  ),
  gaps: list(
    object<PastGap>({
      ...{ epoch: text(), after: number(), before: optional(number()), reason: text(), noticed_at: text() },
    }),
    MAX_PAGE_EVENTS,
  ),
  next: optional(text()),
});

/** Pages of the archive, newest first. @param path such as `alerts?camera=north` */
export function useHistory(path: string) {
  const { api } = useServices();
  return useInfiniteQuery({
    queryKey: ["history", path],
    queryFn: async ({ pageParam, signal }) => checked(isPage, await api.request(pageParam, { signal })),
    initialPageParam: path,
    getNextPageParam: (last: HistoryPage) => last.next,
  });
}

/** The path of a route with the parameters that have a value. */
export function pathWith(route: string, parameters: Readonly<Record<string, string | undefined>>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value) query.set(name, value);
  return `${route}?${query}`;
}

/** An archived event as the dashboard's texts expect it. */
export function asDashboardEvent({ epoch, accepted_at, kind, data, ...event }: PastEvent): DashboardEvent {
  return { type: "dashboard_event", channel: "", data, ...event };
}

type HistoryItem = { event: PastEvent } | { gap: PastGap };

/** Puts each gap between the events around it. @param events newest first */
export function withGaps(events: readonly PastEvent[], gaps: readonly PastGap[]): HistoryItem[] {
  const items: HistoryItem[] = [];
  const left = [...gaps].sort((one, other) => other.after - one.after);
  for (const event of events) {
    const isAbove = ({ epoch, after }: PastGap) => epoch === event.epoch && event.position <= after;
    for (const gap of left.filter(isAbove)) {
      left.splice(left.indexOf(gap), 1);
      items.push({ gap });
    }
    items.push({ event });
  }
  return [...items, ...left.map((gap) => ({ gap }))];
}
