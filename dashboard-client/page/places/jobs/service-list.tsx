import type { ReactNode } from "react";
import { isObject } from "../../../../contract/guards.ts";
import type { RealTimeData } from "../../../state/dashboard-store.ts";
import { t } from "../../text/i18n.ts";
import { useDashboard } from "../../use-dashboard.ts";

const services = ({ services: known }: RealTimeData) => known;

/** The processing services, and whether each is connected. */
export function ServiceList(): ReactNode {
  const known = useDashboard(services);
  if (known.size === 0) return <p className="history-note">{t("jobs.noService")}</p>;
  return (
    <ul className="records-tags">
      {[...known].map(([name, { value }]) => {
        const isOnline = isObject(value) && value.status === "online";
        return (
          <li key={name} className="pill" data-tone={isOnline ? "good" : "bad"}>
            <span className="dot" aria-hidden="true" />
            <span>{t(isOnline ? "jobs.serviceOnline" : "jobs.serviceOffline", { service: name })}</span>
          </li>
        );
      })}
    </ul>
  );
}
