import type { ReactNode } from "react";
import { useRealTimeData } from "../../../react/use-real-time-data.ts";
import { EventFeed } from "../../components/event-feed.tsx";
import { usePlaceTitle } from "../../shell/page-title.ts";
import { t } from "../../text/i18n.ts";

export default function EventsPlace(): ReactNode {
  const data = useRealTimeData();
  usePlaceTitle(t("place.events"));
  return (
    <div className="place" data-live={data.live}>
      <h1>{t("place.events")}</h1>
      <EventFeed data={data} />
    </div>
  );
}
