import type { ReactNode } from "react";
import { useRealTimeData } from "../../../react/use-real-time-data.ts";
import { JobsPanel } from "../../components/jobs-panel.tsx";
import { useServices } from "../../services.tsx";
import { usePlaceTitle } from "../../shell/page-title.ts";
import { t } from "../../text/i18n.ts";

export default function JobsPlace(): ReactNode {
  const data = useRealTimeData();
  const { films } = useServices();
  usePlaceTitle(t("place.jobs"));
  return (
    <div className="place" data-live={data.live}>
      <h1>{t("place.jobs")}</h1>
      <JobsPanel data={data} films={films} />
    </div>
  );
}
