import { type ReactNode, useState } from "react";
import type { ReportedGap } from "../../../client/subscription.ts";
import type { ActivityItem } from "../../../state/dashboard-state.ts";
import type { RealTimeData } from "../../../state/dashboard-store.ts";
import { EventRow } from "../../components/event-row.tsx";
import { Row } from "../../components/row.tsx";
import { formatTime } from "../../text/format.ts";
import { t } from "../../text/i18n.ts";
import { useCameraNames, useCameraZones } from "../../use-cameras.ts";
import { useDashboard } from "../../use-dashboard.ts";
import { useNow } from "../../use-now.ts";

const MINUTE_MS = 60_000;

const feedPart = ({ events, activity, loaded }: RealTimeData) => ({ events, activity, loaded });

/** The events since the page was opened, as they happen. */
export function LiveEvents(): ReactNode {
  const [all, setAll] = useState(false);
  const now = useNow();
  const { events, activity, loaded } = useDashboard(feedPart);
  const names = useCameraNames();
  const zones = useCameraZones();
  const items: readonly ActivityItem[] = all ? events.map((event) => ({ kind: "event", event })) : activity;
  return (
    <section className="panel feed" aria-labelledby="feed-title">
      <div className="panel-head">
        <h2 id="feed-title">{t("events.live")}</h2>
        <button type="button" className="text-button" onClick={() => setAll(!all)}>
          {all ? t("events.showHighlights") : t("events.showAll")}
        </button>
      </div>
      {items.length === 0 ? (
        <p className="panel-empty">{loaded ? t("events.none") : t("common.loading")}</p>
      ) : (
        <ol className="rows" data-testid="event-feed">
          {items.map((item) =>
            item.kind === "gap" ? (
              <GapRow key={`gap ${item.gap.at}`} gap={item.gap} now={now} />
            ) : (
              <EventRow
                key={`${item.event.position} ${item.event.id ?? ""}`}
                event={item.event}
                cameraName={
                  item.event.camera === undefined ? undefined : (names[item.event.camera] ?? item.event.camera)
                }
                timeZone={zones[item.event.camera ?? ""]}
                minute={Math.floor(now / MINUTE_MS) * MINUTE_MS}
              />
            ),
          )}
        </ol>
      )}
    </section>
  );
}

function GapRow({ gap, now }: { gap: ReportedGap; now: number }): ReactNode {
  return (
    <Row
      className="row gap-row"
      testId="gap-row"
      tone="warn"
      icon="gap"
      title={t("gap.here")}
      detail={t("gap.why", { reason: t(`gap.${gap.reason}`) })}
      at={new Date(gap.at).toISOString()}
      time={formatTime(gap.at, undefined, now)}
    />
  );
}
