import type { ReactNode } from "react";
import { useRealTimeData } from "../../../react/use-real-time-data.ts";
import { SystemPanel } from "../../components/system-panel.tsx";
import { usePlaceTitle } from "../../shell/page-title.ts";
import { t } from "../../text/i18n.ts";

export default function SystemPlace(): ReactNode {
  const data = useRealTimeData();
  usePlaceTitle(t("place.system"));
  return (
    <div className="place" data-live={data.live}>
      <h1>{t("place.system")}</h1>
      <SystemPanel data={data} />
    </div>
  );
}
