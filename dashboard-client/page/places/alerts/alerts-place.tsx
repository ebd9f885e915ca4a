import { useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useEffect } from "react";
import { useSearchParams } from "wouter";
import type { AlertNotes, AlertState } from "../../../state/alert-state.ts";
import type { RealTimeData } from "../../../state/dashboard-store.ts";
import { type PastEvent, pathWith } from "../../api/history.ts";
import { HistoryList } from "../../components/history-list.tsx";
import { usePlaceTitle } from "../../shell/page-title.ts";
import { t } from "../../text/i18n.ts";
import { Choice } from "../../ui/choice.tsx";
import { useCameraNames } from "../../use-cameras.ts";
import { useDashboard } from "../../use-dashboard.ts";
import { useNow } from "../../use-now.ts";
import { MutedAlert, RaisedAlert } from "./raised-alert.tsx";

const RANK = { critical: 0, warning: 1, info: 2 };
/** How long the history waits after an alert, because an event is in the archive a second after its acceptance. */
const ARCHIVE_DELAY_MS = 2_000;

const alertsPart = ({ alerts, alertNotes, endedAlerts, loaded, live }: RealTimeData) => ({
  ...{ alerts, alertNotes, endedAlerts, loaded, live },
});

/** The raised alerts, with what people noted about them, and past alerts. */
export default function AlertsPlace(): ReactNode {
  const { alerts, alertNotes, loaded, live } = useDashboard(alertsPart);
  const now = useNow();
  usePlaceTitle(t("place.alerts"));
  useFreshHistory();

  const isMuted = (key: string): boolean => Date.parse(alertNotes.get(key)?.mute?.until ?? "") > now;
  const raised = [...alerts].sort((one, other) => rank(one, isMuted) - rank(other, isMuted) || newer(one, other));
  const muted = [...alertNotes].filter(([key]) => isMuted(key) && !alerts.has(key));
  return (
    <div className="place" data-live={live}>
      <h1>{t("place.alerts")}</h1>
      <section className="panel alerts-raised" aria-labelledby="alerts-raised">
        <h2 id="alerts-raised">{t("alerts.raised")}</h2>
        {raised.length === 0 && <p className="history-note">{loaded ? t("alerts.none") : t("common.loading")}</p>}
        {/* A screen reader announces new alerts. */}
        <ul className="alerts-list" aria-live="polite" aria-relevant="additions">
          {raised.map(([key, alert]) => (
            <RaisedAlert key={key} alert={alert} notes={alertNotes.get(key) ?? NO_NOTES} isMuted={isMuted(key)} />
          ))}
        </ul>
        {muted.length > 0 && (
          <>
            <h3>{t("alerts.mutedAlerts")}</h3>
            <ul className="alerts-list">
              {muted.map(([key, notes]) => (
                <MutedAlert key={key} of={key} notes={notes} />
              ))}
            </ul>
          </>
        )}
      </section>
      <AlertHistory />
    </div>
  );
}

const NO_NOTES: AlertNotes = {};

type Keyed = readonly [key: string, alert: AlertState];

/** Muted alerts come last. */
function rank([key, { severity }]: Keyed, isMuted: (key: string) => boolean): number {
  return RANK[severity] + (isMuted(key) ? Object.keys(RANK).length : 0);
}

function newer([, one]: Keyed, [, other]: Keyed): number {
  return other.since.localeCompare(one.since);
}

/** Reads the history again when an alert was raised, cleared or noted. */
function useFreshHistory(): void {
  const { alerts, alertNotes, endedAlerts } = useDashboard(alertsPart);
  const queries = useQueryClient();
  // biome-ignore lint/correctness/useExhaustiveDependencies: each change of these is a new event of the history
  useEffect(() => {
    const timer = setTimeout(() => void queries.invalidateQueries({ queryKey: ["history"] }), ARCHIVE_DELAY_MS);
    return () => clearTimeout(timer);
  }, [alerts, alertNotes, endedAlerts, queries]);
}

/** The end of an acknowledgement or of a mute: the end of the alert, or the time of the mute, says it already. */
const isNoteEnd = ({ event }: PastEvent): boolean => event === "state.cleared";

function AlertHistory(): ReactNode {
  const [search, setSearch] = useSearchParams();
  const names = useCameraNames();
  const camera = search.get("camera") ?? "";
  const known = Object.entries(names).sort(([, one], [, other]) => one.localeCompare(other));
  const others: [string, string][] = camera === "" || camera in names ? [] : [[camera, camera]];
  const choose = (value: string): void => setSearch(value === "" ? {} : { camera: value }, { replace: true });
  return (
    <section className="panel" aria-labelledby="alerts-history">
      <div className="panel-head">
        <h2 id="alerts-history">{t("alerts.history")}</h2>
        <Choice
          label={t("events.camera")}
          value={camera}
          options={[["", t("events.allCameras")], ...others, ...known]}
          onChange={choose}
        />
      </div>
      <HistoryList path={pathWith("alerts", { camera, limit: "50" })} none={t("alerts.noHistory")} hides={isNoteEnd} />
    </section>
  );
}
