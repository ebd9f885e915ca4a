import type { ReactNode } from "react";
import type { RealTimeData } from "../../dashboard-store.ts";
import { formatAge } from "../../format.ts";
import { useNow } from "../use-now.ts";
import { Icon } from "./icon.tsx";

const RANK = { critical: 0, warning: 1, info: 2 };
const TONES = { critical: "bad", warning: "warn", info: "quiet" };

/** What wants looking after; nothing when nothing does. */
export function AlertsPanel({ data }: { data: RealTimeData }): ReactNode {
  const now = useNow();
  const alerts = [...data.alerts].sort(([, one], [, other]) => RANK[one.severity] - RANK[other.severity]);
  if (alerts.length === 0) return null;
  return (
    <section className="panel alerts" aria-label="Alerts">
      <ul className="rows">
        {alerts.map(([key, alert]) => (
          <li key={key} className="row" data-testid="alert-row" data-tone={TONES[alert.severity]}>
            <span className="row-icon">
              <Icon name="alert" />
            </span>
            <div className="row-words">
              <p className="row-title">{alert.message}</p>
              <p className="row-detail">
                {data.cameras.get(alert.camera)?.about?.value.name ?? alert.camera} · {alert.severity}
              </p>
            </div>
            <time className="row-time" dateTime={alert.since}>
              {formatAge(alert.since, now)}
            </time>
          </li>
        ))}
      </ul>
    </section>
  );
}
