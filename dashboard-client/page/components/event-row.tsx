import { memo, type ReactNode } from "react";
import type { DashboardEvent } from "../../../contract/socket-messages.ts";
import { eventText } from "../text/event-text.ts";
import { formatTime } from "../text/format.ts";
import { t } from "../text/i18n.ts";
import { Row } from "./row.tsx";

interface EventRowProps {
  event: DashboardEvent;
  cameraName: string | undefined;
  timeZone: string | undefined;
  /** The current time, rounded down to a minute, so that rows are not rendered again every second. */
  minute: number;
}

export const EventRow = memo(function EventRow({ event, cameraName, timeZone, minute }: EventRowProps): ReactNode {
  const { detail, ...shape } = eventText(event, { timeZone, now: minute });
  const late = event.historical === true && (
    <span className="tag" title={t("eventDetail.lateWhy")}>
      {t("eventDetail.late")}
    </span>
  );
  return (
    <Row
      {...shape}
      testId="event-row"
      detail={
        <>
          {late}
          <span>{[cameraName, detail].filter(Boolean).join(" · ")}</span>
        </>
      }
      at={event.timestamp}
      time={formatTime(event.timestamp, timeZone, minute)}
    />
  );
});
