import { memo, type ReactNode } from "react";
import type { DashboardEvent } from "../../../contract/socket-messages.ts";
import { eventText } from "../text/event-text.ts";
import { formatTime } from "../text/format.ts";
import { Icon } from "./icon.tsx";

export interface EventRowProps {
  event: DashboardEvent;
  /** The name of the camera. Undefined if the event has no camera. */
  cameraName: string | undefined;
  /** The time zone of the camera. Undefined if it is not known. */
  timeZone: string | undefined;
  /** The current time, rounded down to a minute, so that rows are not rendered again every second. */
  minute: number;
}

export const EventRow = memo(function EventRow({ event, cameraName, timeZone, minute }: EventRowProps): ReactNode {
  const { title, detail, icon, tone } = eventText(event, { timeZone, now: minute });
  return (
    <li
      className="row"
      data-testid="event-row"
      data-event={event.event}
      data-tone={tone}
      data-position={event.position}
    >
      <span className="row-icon">
        <Icon name={icon} />
      </span>
      <div className="row-words">
        <p className="row-title">{title}</p>
        <p className="row-detail">
          {event.historical === true && (
            <span className="tag" title="The camera sent this later, after it had reconnected">
              late
            </span>
          )}
          <span>{[cameraName, detail].filter(Boolean).join(" · ")}</span>
        </p>
      </div>
      <time className="row-time" dateTime={event.timestamp}>
        {formatTime(event.timestamp, timeZone, minute)}
      </time>
    </li>
  );
});
