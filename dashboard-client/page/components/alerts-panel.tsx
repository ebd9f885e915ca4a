import { type ReactNode, useState } from "react";
import type { AlertState } from "../../state/alert-state.ts";
import type { RealTimeData } from "../../state/dashboard-store.ts";
import { alertName } from "../text/alert-text.ts";
import { formatAge, formatDuration, formatMinute } from "../text/format.ts";
import { useNow } from "../use-now.ts";
import { Icon } from "./icon.tsx";

const RANK = { critical: 0, warning: 1, info: 2 };
const TONES = { critical: "bad", warning: "warn", info: "quiet" };
/** How long an alert that has ended is shown, milliseconds. */
const ENDED_SHOWN_MS = 10 * 60_000;
const MAX_ENDED_SHOWN = 3;
/**
 * How many alerts are shown: the most severe and newest ones. With more, activity and processing would be out of view.
 */
const SHOWN_AT_FIRST = 4;

/** The active alerts, and those that ended recently. Renders nothing if there are no such alerts. */
export function AlertsPanel({ data }: { data: RealTimeData }): ReactNode {
  const now = useNow();
  const alerts = [...data.alerts].sort(
    ([, one], [, other]) => RANK[one.severity] - RANK[other.severity] || other.since.localeCompare(one.since),
  );
  const ended = data.endedAlerts
    .filter(({ until }) => now - Date.parse(until) < ENDED_SHOWN_MS)
    .slice(0, MAX_ENDED_SHOWN);
  const [all, setAll] = useState(false);
  if (alerts.length === 0 && ended.length === 0) return null;
  const shown = all ? alerts : alerts.slice(0, SHOWN_AT_FIRST);
  return (
    <section className="panel alerts" aria-label="Alerts" data-standing={alerts.length}>
      {/* A screen reader announces new alerts. */}
      <ul className="rows" aria-live="polite" aria-relevant="additions">
        {shown.map(([key, alert]) => (
          <li
            key={key}
            className="row"
            data-testid="alert-row"
            data-alert={alert.alert}
            data-tone={TONES[alert.severity]}
          >
            <span className="row-icon">
              <Icon name="alert" />
            </span>
            <div className="row-words">
              <p className="row-title">{alert.message}</p>
              <p className="row-detail">
                <Owner data={data} alert={alert} />
                <span>{` · since ${formatMinute(alert.since, zoneOf(data, alert), now)}`}</span>
              </p>
            </div>
            <time className="row-time" dateTime={alert.since}>
              {formatAge(alert.since, now)}
            </time>
          </li>
        ))}
        {ended.map((alert) => (
          <li
            key={`${ownerOf(data, alert)} ${alert.alert} ${alert.until}`}
            className="row"
            data-testid="ended-alert-row"
            data-tone="good"
          >
            <span className="row-icon">
              <Icon name="check" />
            </span>
            <div className="row-words">
              <p className="row-title">{`Ended: ${alertName(alert.alert).toLowerCase()}`}</p>
              <p className="row-detail">
                {`${ownerOf(data, alert)} · lasted ${formatDuration(Date.parse(alert.until) - Date.parse(alert.since))}`}
              </p>
            </div>
            <time className="row-time" dateTime={alert.until}>
              {formatAge(alert.until, now)}
            </time>
          </li>
        ))}
      </ul>
      {alerts.length > SHOWN_AT_FIRST && (
        <button type="button" className="text-button" aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? "Show fewer" : `${alerts.length - SHOWN_AT_FIRST} more`}
        </button>
      )}
    </section>
  );
}

/** The name of a camera links to the camera. */
function Owner({ data, alert }: { data: RealTimeData; alert: AlertState }): ReactNode {
  const name = ownerOf(data, alert);
  return alert.camera !== undefined && data.cameras.has(alert.camera) ? (
    <a href={`#${alert.camera}`}>{name}</a>
  ) : (
    <span>{name}</span>
  );
}

function ownerOf(data: RealTimeData, { camera, service }: AlertState): string {
  if (camera === undefined) return service ?? "";
  return data.cameras.get(camera)?.about?.value.name ?? camera;
}

function zoneOf(data: RealTimeData, { camera }: AlertState): string | undefined {
  return camera === undefined ? undefined : data.cameras.get(camera)?.about?.value.location.timezone;
}
