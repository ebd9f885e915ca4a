import type { ReactNode } from "react";
import { Link } from "wouter";
import type { AlertState } from "../../state/alert-state.ts";
import type { RealTimeData } from "../../state/dashboard-store.ts";
import { alertName } from "../text/alert-text.ts";
import { nameOf, zoneOf } from "../text/camera-status.ts";
import { formatAge, formatDuration, formatMinute } from "../text/format.ts";
import { useNow } from "../use-now.ts";
import { Row, useFirst } from "./row.tsx";

const RANK = { critical: 0, warning: 1, info: 2 };
const TONES = { critical: "bad", warning: "warn", info: "quiet" };
/** How long an ended alert is shown, milliseconds. */
const ENDED_SHOWN_MS = 10 * 60_000;
const MAX_ENDED_SHOWN = 3;
/** Few enough for activity and processing to stay visible. */
const SHOWN_AT_FIRST = 4;

/** The active alerts (the most severe and newest first), and those that ended recently. */
export function AlertsPanel({ data }: { data: RealTimeData }): ReactNode {
  const now = useNow();
  const alerts = [...data.alerts].sort(
    ([, one], [, other]) => RANK[one.severity] - RANK[other.severity] || other.since.localeCompare(one.since),
  );
  const ended = data.endedAlerts
    .filter(({ until }) => now - Date.parse(until) < ENDED_SHOWN_MS)
    .slice(0, MAX_ENDED_SHOWN);
  const [shown, more] = useFirst(alerts, SHOWN_AT_FIRST);
  if (alerts.length === 0 && ended.length === 0) return null;
  return (
    <section className="panel alerts" aria-label="Alerts" data-standing={alerts.length}>
      {/* A screen reader announces new alerts. */}
      <ul className="rows" aria-live="polite" aria-relevant="additions">
        {shown.map(([key, alert]) => (
          <Row
            key={key}
            testId="alert-row"
            tone={TONES[alert.severity]}
            icon="alert"
            title={alert.message}
            detail={
              <>
                <Owner data={data} alert={alert} />
                <span>{` · since ${formatMinute(alert.since, zoneOf(data, alert.camera), now)}`}</span>
              </>
            }
            at={alert.since}
            time={formatAge(alert.since, now)}
          />
        ))}
        {ended.map((alert) => (
          <Row
            key={`${ownerOf(data, alert)} ${alert.alert} ${alert.until}`}
            testId="ended-alert-row"
            tone="good"
            icon="check"
            title={`Ended: ${alertName(alert.alert).toLowerCase()}`}
            detail={`${ownerOf(data, alert)} · lasted ${formatDuration(Date.parse(alert.until) - Date.parse(alert.since))}`}
            at={alert.until}
            time={formatAge(alert.until, now)}
          />
        ))}
      </ul>
      {more}
    </section>
  );
}

/** The name of a camera links to the camera. */
function Owner({ data, alert }: { data: RealTimeData; alert: AlertState }): ReactNode {
  const name = ownerOf(data, alert);
  const isShown = alert.camera !== undefined && data.cameras.has(alert.camera);
  return isShown ? <Link href={`/cameras/${alert.camera}`}>{name}</Link> : <span>{name}</span>;
}

function ownerOf(data: RealTimeData, { camera, service }: AlertState): string {
  return nameOf(data, camera) ?? service ?? "";
}
