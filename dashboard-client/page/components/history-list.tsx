import { Fragment, memo, type ReactNode } from "react";
import { isObject } from "../../../contract/guards.ts";
import { ApiError } from "../api/api-client.ts";
import { asDashboardEvent, type PastEvent, type PastGap, useHistory, withGaps } from "../api/history.ts";
import { zoneFor } from "../preferences.ts";
import { eventText } from "../text/event-text.ts";
import { formatDay } from "../text/format.ts";
import { t, textOf } from "../text/i18n.ts";
import { When } from "../ui/when.tsx";
import { useCameraNames, useCameraZones } from "../use-cameras.ts";
import { Icon } from "./icon.tsx";

interface HistoryListProps {
  /** The route with its filters, such as `alerts?camera=north`. */
  path: string;
  /** The text for no events at all. */
  none: string;
  /** Events that say nothing to a person. Default: none. */
  hides?: (event: PastEvent) => boolean;
  /** Shown below the text of an event, such as a link to a film. */
  more?: (event: PastEvent) => ReactNode;
}

/** Events of the archive by day, newest first, with gaps shown as gaps. */
export function HistoryList({ path, none, hides, more }: HistoryListProps): ReactNode {
  const { data, error, isPending, isFetchingNextPage, hasNextPage, fetchNextPage, refetch } = useHistory(path);
  const names = useCameraNames();
  const zones = useCameraZones();
  if (isPending) return <p className="history-note">{t("common.loading")}</p>;
  if (data === undefined) return <HistoryProblem error={error} onRetry={() => void refetch()} />;
  const items = withGaps(
    data.pages.flatMap(({ events }) => (hides === undefined ? events : events.filter((event) => !hides(event)))),
    data.pages.flatMap(({ gaps }) => gaps),
  );
  let day = "";
  return (
    <div className="history" data-testid="history">
      {items.length === 0 && <p className="history-note">{none}</p>}
      <ol className="history-list">
        {items.map((item) => {
          if ("gap" in item) return <GapLine key={`gap ${item.gap.epoch} ${item.gap.after}`} gap={item.gap} />;
          const { event } = item;
          const id = cameraOf(event);
          const zone = id === undefined ? undefined : zones[id];
          const heading = formatDay(event.accepted_at, zoneFor(zone));
          const isNewDay = heading !== day;
          day = heading;
          return (
            <Fragment key={`${event.epoch} ${event.position}`}>
              {isNewDay && <li className="history-day">{heading}</li>}
              <EventLine
                event={event}
                camera={id === undefined ? undefined : (names[id] ?? id)}
                zone={zone}
                more={more}
              />
            </Fragment>
          );
        })}
      </ol>
      {error !== null && <HistoryProblem error={error} onRetry={() => void fetchNextPage()} />}
      {hasNextPage && error === null && (
        <button type="button" className="button" disabled={isFetchingNextPage} onClick={() => void fetchNextPage()}>
          {isFetchingNextPage ? t("common.loading") : t("common.more")}
        </button>
      )}
    </div>
  );
}

/** The camera of an event, or the camera that a job names. */
function cameraOf({ camera, data }: PastEvent): string | undefined {
  const named = isObject(data) && typeof data.camera === "string" ? data.camera : undefined;
  return camera ?? named;
}

function HistoryProblem({ error, onRetry }: { error: Error | null; onRetry: () => void }): ReactNode {
  const reason = error instanceof ApiError && error.code === "archive_unavailable" ? t("events.noArchive") : undefined;
  return (
    <div className="history-problem" role="alert">
      <p>{reason ?? t("common.loadingFailed", { reason: error?.message ?? "" })}</p>
      <button type="button" className="button" onClick={onRetry}>
        {t("common.retry")}
      </button>
    </div>
  );
}

interface EventLineProps {
  event: PastEvent;
  /** The name of the camera. */
  camera: string | undefined;
  zone: string | undefined;
  more: ((event: PastEvent) => ReactNode) | undefined;
}

const EventLine = memo(function EventLine({ event, camera, zone, more }: EventLineProps): ReactNode {
  const reader = { timeZone: zoneFor(zone), now: Date.parse(event.accepted_at) };
  const { title, detail, icon, tone } = eventText(asDashboardEvent(event), reader);
  return (
    <li className="row" data-testid="past-event" data-tone={tone}>
      <span className="row-icon">
        <Icon name={icon} />
      </span>
      <p className="row-title">{title}</p>
      <div className="row-detail history-detail">
        {event.historical === true && (
          <span className="tag" title={t("eventDetail.lateWhy")}>
            {t("eventDetail.late")}
          </span>
        )}
        <span>{[camera, detail].filter(Boolean).join(" · ")}</span>
        {more?.(event)}
      </div>
      <span className="row-time">
        <When at={event.timestamp} cameraZone={zone} />
      </span>
    </li>
  );
});

function GapLine({ gap: { after, before, reason, noticed_at } }: { gap: PastGap }): ReactNode {
  const count = before === undefined ? undefined : before - after - 1;
  const why = textOf("gap", reason) ?? reason;
  return (
    <li className="row gap-row" data-testid="past-gap" data-tone="warn">
      <span className="row-icon">
        <Icon name="gap" />
      </span>
      <p className="row-title">{count === undefined ? t("gap.here") : t("events.gap", { count })}</p>
      <p className="row-detail">{t("events.gapWhy", { reason: why })}</p>
      <span className="row-time">
        <When at={noticed_at} form="minute" />
      </span>
    </li>
  );
}
