import { useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useEffect } from "react";
import { useSearchParams } from "wouter";
import { isJob } from "../../../../contract/state-guards.ts";
import type { RealTimeData } from "../../../state/dashboard-store.ts";
import { type PastEvent, pathWith } from "../../api/history.ts";
import { FilmLink } from "../../components/film-link.tsx";
import { HistoryList } from "../../components/history-list.tsx";
import { useServices } from "../../services.tsx";
import { usePlaceTitle } from "../../shell/page-title.ts";
import { t } from "../../text/i18n.ts";
import { Choice } from "../../ui/choice.tsx";
import { useCameraNames } from "../../use-cameras.ts";
import { useDashboard } from "../../use-dashboard.ts";
import { JobItem } from "./job-item.tsx";
import { ServiceList } from "./service-list.tsx";

/** An event is in the archive a second after its acceptance, milliseconds. */
const ARCHIVE_DELAY_MS = 2_000;
const RANK = { processing: 0, queued: 1, failed: 2, completed: 3 };
const EVENTS = [
  ["job.completed", "jobs.completed"],
  ["job.failed", "jobs.failed"],
  ["all", "jobs.allReports"],
] as const;

const jobsPart = ({ jobs, loaded, live }: RealTimeData) => ({ jobs, loaded, live });

/** What processing services do now, and what they did. */
export default function JobsPlace(): ReactNode {
  const { jobs, loaded, live } = useDashboard(jobsPart);
  usePlaceTitle(t("place.jobs"));
  const current = [...jobs]
    .filter(([, { cleared }]) => !cleared)
    .sort(([one, a], [other, b]) => RANK[a.status] - RANK[b.status] || one.localeCompare(other));
  return (
    <div className="place" data-live={live}>
      <h1>{t("place.jobs")}</h1>
      <section className="panel" aria-labelledby="jobs-now">
        <h2 id="jobs-now">{t("jobs.now")}</h2>
        <ServiceList />
        {current.length === 0 && <p className="history-note">{loaded ? t("jobs.none") : t("common.loading")}</p>}
        <ul className="jobs-list">
          {current.map(([key, job]) => (
            <JobItem key={key} job={job} />
          ))}
        </ul>
      </section>
      <PastJobs />
    </div>
  );
}

const countEnded = ({ jobs }: RealTimeData): number =>
  [...jobs.values()].filter(({ status }) => status === "completed" || status === "failed").length;

function PastJobs(): ReactNode {
  const [search, setSearch] = useSearchParams();
  const names = useCameraNames();
  const ended = useDashboard(countEnded);
  const queries = useQueryClient();
  // biome-ignore lint/correctness/useExhaustiveDependencies: a job that ended is a new event of the history
  useEffect(() => {
    const timer = setTimeout(() => void queries.invalidateQueries({ queryKey: ["history"] }), ARCHIVE_DELAY_MS);
    return () => clearTimeout(timer);
  }, [ended, queries]);

  const event = search.get("event") ?? "job.completed";
  const camera = search.get("camera") ?? "";
  const change = (name: string, value: string): void =>
    setSearch(
      (before) => {
        before.set(name, value);
        return before;
      },
      { replace: true },
    );
  const known = Object.entries(names).sort(([, one], [, other]) => one.localeCompare(other));
  return (
    <section className="panel" aria-labelledby="jobs-past">
      <div className="panel-head">
        <h2 id="jobs-past">{t("jobs.past")}</h2>
        <div className="records-filters">
          <Choice
            label={t("jobs.show")}
            value={event}
            options={EVENTS.map(([value, key]) => [value, t(key)] as const)}
            onChange={(value) => change("event", value)}
          />
          <Choice
            label={t("events.camera")}
            value={camera}
            options={[["", t("events.allCameras")], ...known]}
            onChange={(value) => change("camera", value)}
          />
        </div>
      </div>
      <HistoryList
        path={pathWith("jobs", { camera, event: event === "all" ? undefined : event, limit: "50" })}
        none={t("jobs.noHistory")}
        more={filmsOf}
      />
    </section>
  );
}

const filmsOf = (event: PastEvent): ReactNode => <PastFilms event={event} />;

function PastFilms({ event: { data } }: { event: PastEvent }): ReactNode {
  const { films } = useServices();
  if (!isJob(data) || data.films === undefined) return null;
  return (
    <span className="films">
      {data.films.map((film) => (
        <FilmLink key={film.url} film={film} camera={data.camera} films={films} />
      ))}
    </span>
  );
}
