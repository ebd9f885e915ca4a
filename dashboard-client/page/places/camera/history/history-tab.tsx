import { useInfiniteQuery } from "@tanstack/react-query";
import { type FormEvent, type ReactNode, useCallback, useState } from "react";
import { useSearchParams } from "wouter";
import type { DashboardEvent } from "../../../../../contract/socket-messages.ts";
import type { RealTimeData } from "../../../../state/dashboard-store.ts";
import type { ApiClient } from "../../../api/api-client.ts";
import { EventRow } from "../../../components/event-row.tsx";
import { Icon } from "../../../components/icon.tsx";
import { zoneFor } from "../../../preferences.ts";
import { useServices } from "../../../services.tsx";
import { t } from "../../../text/i18n.ts";
import { Choice } from "../../../ui/choice.tsx";
import { TextField } from "../../../ui/text-field.tsx";
import { useDashboard } from "../../../use-dashboard.ts";
import { useNow } from "../../../use-now.ts";
import { ArchiveProblem, retryArchive } from "../archive-problem.tsx";
import type { CameraTabProps } from "../camera-tab-props.ts";

const MINUTE_MS = 60_000;
const PAGE_EVENTS = 50;
const KINDS = ["all", "event", "state", "presence", "alert", "job"] as const;
type Kind = (typeof KINDS)[number];

interface HistoryPage {
  events: readonly DashboardEvent[];
  gaps: number;
  /** The path of the next page. */
  next: string | undefined;
}

/** The past events of a camera. The search is in the address: `#/cameras/north/history?text=frozen`. */
export default function HistoryTab({ camera }: CameraTabProps): ReactNode {
  const { api } = useServices();
  const [search, setSearch] = useSearchParams();
  const text = search.get("text") ?? "";
  const kind = KINDS.find((each) => each === search.get("kind")) ?? "all";
  const zone = zoneFor(
    useDashboard(
      useCallback(({ cameras }: RealTimeData) => cameras.get(camera)?.about?.value.location.timezone, [camera]),
    ),
  );
  const minute = Math.floor(useNow() / MINUTE_MS) * MINUTE_MS;
  const { data, error, hasNextPage, isFetchingNextPage, fetchNextPage, refetch } = useInfiniteQuery({
    queryKey: ["history", camera, kind, text],
    queryFn: ({ pageParam, signal }) => requestPage(api, pageParam ?? firstPath(camera, kind, text), signal),
    retry: retryArchive,
    initialPageParam: undefined as string | undefined,
    getNextPageParam: ({ next }) => next,
  });
  const pages = data?.pages ?? [];
  const events = pages.flatMap((page) => page.events);
  const set = (next: { text?: string; kind?: Kind }): void => {
    const wanted = { text, kind, ...next };
    setSearch(Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== "" && value !== "all")), {
      replace: true,
    });
  };
  return (
    <div className="history">
      <SearchForm key={text} text={text} kind={kind} onChange={set} />
      {error !== null && <ArchiveProblem error={error} onRetry={() => void refetch()} />}
      {data === undefined && error === null && <p className="place-loading">{t("common.loading")}</p>}
      {data !== undefined && events.length === 0 && <p className="panel-empty">{t("camera.noEvents")}</p>}
      {events.length > 0 && (
        <section className="panel history-list" aria-label={t("camera.tab.history")}>
          <ol className="rows" data-testid="history">
            {events.map((event) => (
              <EventRow
                key={`${event.position} ${event.id ?? ""}`}
                event={event}
                cameraName={undefined}
                timeZone={zone}
                minute={minute}
              />
            ))}
          </ol>
        </section>
      )}
      {pages.some(({ gaps }) => gaps > 0) && <p className="charts-note">{t("camera.historyGaps")}</p>}
      {hasNextPage && (
        <button
          type="button"
          className="button history-more"
          disabled={isFetchingNextPage}
          onClick={() => void fetchNextPage()}
        >
          {t(isFetchingNextPage ? "common.loading" : "common.more")}
        </button>
      )}
    </div>
  );
}

interface SearchFormProps {
  text: string;
  kind: Kind;
  onChange: (next: { text?: string; kind?: Kind }) => void;
}

function SearchForm({ text, kind, onChange }: SearchFormProps): ReactNode {
  const [typed, setTyped] = useState(text);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    onChange({ text: typed.trim() });
  };
  return (
    <search>
      <form className="history-search" onSubmit={submit}>
        <TextField
          label={t("camera.searchLabel")}
          type="search"
          name="text"
          maxLength={200}
          value={typed}
          onChange={(event) => setTyped(event.target.value)}
        />
        <Choice
          label={t("camera.kindLabel")}
          value={kind}
          options={KINDS.map((each) => [each, t(`camera.kind.${each}`)] as const)}
          onChange={(next) => onChange({ kind: next })}
        />
        <button type="submit" className="button">
          <Icon name="search" />
          <span>{t("camera.search")}</span>
        </button>
      </form>
    </search>
  );
}

function firstPath(camera: string, kind: Kind, text: string): string {
  const query = new URLSearchParams({ camera, limit: String(PAGE_EVENTS) });
  if (kind !== "all") query.set("kind", kind);
  if (text !== "") query.set("text", text);
  return `events?${query}`;
}

async function requestPage(api: ApiClient, path: string, signal: AbortSignal): Promise<HistoryPage> {
  const answer = Object(await api.request(path, { signal }));
  return {
    events: Array.isArray(answer.events) ? answer.events.flatMap(eventOf) : [],
    gaps: Array.isArray(answer.gaps) ? answer.gaps.length : 0,
    next: typeof answer.next === "string" ? answer.next : undefined,
  };
}

function eventOf(given: unknown): DashboardEvent | [] {
  const { event, timestamp, position } = Object(given) as Record<string, unknown>;
  if (typeof event !== "string" || typeof timestamp !== "string" || typeof position !== "number") return [];
  const { data, id, camera, historical } = Object(given) as Record<string, unknown>;
  return {
    ...{ type: "dashboard_event", channel: "dashboard", event, timestamp, position, data },
    ...(typeof id === "string" && { id }),
    ...(typeof camera === "string" && { camera }),
    ...(historical === true && { historical: true }),
  };
}
