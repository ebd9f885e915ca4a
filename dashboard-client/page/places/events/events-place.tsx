import type { ReactNode } from "react";
import { useLocation } from "wouter";
import type { RealTimeData } from "../../../state/dashboard-store.ts";
import { usePlaceTitle } from "../../shell/page-title.ts";
import { t } from "../../text/i18n.ts";
import { Tabs } from "../../ui/tabs.tsx";
import { useDashboard } from "../../use-dashboard.ts";
import { EventSearch } from "./event-search.tsx";
import { LiveEvents } from "./live-events.tsx";

const isLive = ({ live }: RealTimeData): boolean => live;

/** `/events`: what happens now. `/events/search`: the archive. */
export default function EventsPlace(): ReactNode {
  const [path, navigate] = useLocation();
  const live = useDashboard(isLive);
  usePlaceTitle(t("place.events"));
  return (
    <div className="place" data-live={live}>
      <h1>{t("place.events")}</h1>
      <Tabs
        label={t("place.events")}
        value={path === "/events/search" ? "search" : "live"}
        onChange={(name) => navigate(name === "search" ? "/events/search" : "/events")}
        tabs={[
          { name: "live", title: t("events.live"), content: <LiveEvents /> },
          { name: "search", title: t("events.search"), content: <EventSearch /> },
        ]}
      />
    </div>
  );
}
