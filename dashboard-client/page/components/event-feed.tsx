import { type ReactNode, useState } from "react";
import type { ReportedGap } from "../../client/subscription.ts";
import type { ActivityItem } from "../../state/dashboard-state.ts";
import type { RealTimeData } from "../../state/dashboard-store.ts";
import { nameOf, zoneOf } from "../text/camera-status.ts";
import { formatTime } from "../text/format.ts";
import { useNow } from "../use-now.ts";
import { EventRow } from "./event-row.tsx";
import { Row } from "./row.tsx";

const MINUTE_MS = 60_000;

export function EventFeed({ data }: { data: RealTimeData }): ReactNode {
  const [all, setAll] = useState(false);
  const now = useNow();
  const items: readonly ActivityItem[] = all ? data.events.map((event) => ({ kind: "event", event })) : data.activity;
  return (
    <section className="panel feed" aria-labelledby="feed-title">
      <div className="panel-head">
        <h2 id="feed-title">Activity</h2>
        <button type="button" className="text-button" onClick={() => setAll(!all)}>
          {all ? "Show highlights" : "Show all"}
        </button>
      </div>
      {items.length === 0 ? (
        <p className="panel-empty">{data.loaded ? "No events since you opened this page." : "Loading…"}</p>
      ) : (
        <ol className="rows" data-testid="event-feed">
          {items.map((item) =>
            item.kind === "gap" ? (
              <GapRow key={`gap ${item.gap.at}`} gap={item.gap} now={now} />
            ) : (
              <EventRow
                key={`${item.event.position} ${item.event.id ?? ""}`}
                event={item.event}
                cameraName={nameOf(data, item.event.camera)}
                timeZone={zoneOf(data, item.event.camera)}
                minute={Math.floor(now / MINUTE_MS) * MINUTE_MS}
              />
            ),
          )}
        </ol>
      )}
    </section>
  );
}

const REASONS = {
  epoch_changed: "the server has started a new journal",
  trimmed: "the server has deleted them because of their age",
  ahead: "the server was restored from a backup",
  damaged: "they were damaged on the server's disk",
  interrupted: "the connection was lost before everything had arrived",
};

function GapRow({ gap, now }: { gap: ReportedGap; now: number }): ReactNode {
  return (
    <Row
      className="row gap-row"
      testId="gap-row"
      tone="warn"
      icon="gap"
      title="Events may be missing here"
      detail={`Earlier events cannot be shown: ${REASONS[gap.reason]}`}
      at={new Date(gap.at).toISOString()}
      time={formatTime(gap.at, undefined, now)}
    />
  );
}
