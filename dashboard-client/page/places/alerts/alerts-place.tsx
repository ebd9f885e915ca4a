import type { ReactNode } from "react";
import { useRealTimeData } from "../../../react/use-real-time-data.ts";
import { AlertsPanel } from "../../components/alerts-panel.tsx";
import { usePlaceTitle } from "../../shell/page-title.ts";
import { t } from "../../text/i18n.ts";

export default function AlertsPlace(): ReactNode {
  const data = useRealTimeData();
  usePlaceTitle(t("place.alerts"));
  return (
    <div className="place" data-live={data.live}>
      <h1>{t("place.alerts")}</h1>
      <AlertsPanel data={data} />
    </div>
  );
}
