import { useMutation } from "@tanstack/react-query";
import { type ReactNode, useCallback, useState } from "react";
import type { JobState } from "../../../../state/dashboard-state.ts";
import type { RealTimeData } from "../../../../state/dashboard-store.ts";
import { FilmLink } from "../../../components/film-link.tsx";
import { Icon } from "../../../components/icon.tsx";
import { useServices } from "../../../services.tsx";
import { formatDuration, formatMinute, formatNumber } from "../../../text/format.ts";
import { t } from "../../../text/i18n.ts";
import { useDashboard } from "../../../use-dashboard.ts";
import { useNow } from "../../../use-now.ts";
import type { Frame } from "./frame-times.ts";

interface FilmsProps {
  camera: string;
  name: string;
  /** The pictures in the player, oldest first. */
  frames: readonly Frame[];
  /** The kept pictures of the range; undefined before they are known. */
  total: number | undefined;
  zone: string | undefined;
}

const MAX_SHOWN = 3;

/** How far the kept pictures reach, and films of them, which a processing service makes. */
export function Films({ camera, name, frames, total, zone }: FilmsProps): ReactNode {
  const jobs = useDashboard(useCallback((data: RealTimeData) => filmJobsOf(data, camera), [camera]));
  const now = useNow();
  const [first, last] = [frames[0], frames.at(-1)];
  return (
    <div className="films">
      <p className="films-reach" data-testid="pictures-reach">
        {first !== undefined && last !== undefined && total !== undefined
          ? t("camera.reach", {
              count: total,
              number: formatNumber(total),
              time: formatMinute(first.at, zone, now),
              duration: formatDuration(last.at - first.at),
            })
          : t(total === 0 ? "camera.noneKept" : "common.loading")}
      </p>
      {first !== undefined && last !== undefined && frames.length > 1 && (
        <FilmRequest camera={camera} from={first.at} to={last.at} />
      )}
      {jobs.length > 0 && (
        <ul className="film-jobs">
          {jobs.map((job) => (
            <FilmJob key={`${job.service} ${job.job}`} job={job} name={name} />
          ))}
        </ul>
      )}
    </div>
  );
}

function filmJobsOf({ jobs }: RealTimeData, camera: string): readonly JobState[] {
  return [...jobs.values()]
    .filter((job) => job.camera === camera && job.type === "timelapse_assembly" && job.simulated !== true)
    .sort((one, other) => other.at.localeCompare(one.at))
    .slice(0, MAX_SHOWN);
}

const requestPart = ({ grants, services, live }: RealTimeData) => ({
  mayRequest: grants.canBroadcast,
  hasService: [...services.values()].some(({ value }) => Object(value).status === "online"),
  live,
});

/** Asks the processing services for a film of the pictures in the player. */
function FilmRequest({ camera, from, to }: { camera: string; from: number; to: number }): ReactNode {
  const { api } = useServices();
  const { mayRequest, hasService, live } = useDashboard(requestPart);
  const [asked, setAsked] = useState(false);
  const request = useMutation({
    mutationFn: () =>
      api.request("broadcast", {
        method: "POST",
        body: {
          channel: "jobs",
          message: {
            event: "job.requested",
            data: {
              job: `film-${crypto.randomUUID().slice(0, 13)}`,
              ...{ camera, from: new Date(from).toISOString(), to: new Date(to).toISOString() },
            },
          },
        },
      }),
    onSuccess: () => setAsked(true),
  });
  const reason = !live
    ? t("banner.notConnected")
    : !mayRequest
      ? t("camera.filmForbidden")
      : hasService
        ? undefined
        : t("camera.filmNoService");
  return (
    <div className="film-request">
      <button
        type="button"
        className="button"
        data-testid="film-request"
        disabled={reason !== undefined || request.isPending}
        aria-describedby="film-request-note"
        onClick={() => request.mutate()}
      >
        <Icon name="film" />
        <span>{t("camera.filmRequest")}</span>
      </button>
      <output id="film-request-note" className="film-note" aria-live="polite">
        {request.error !== null
          ? t("camera.filmFailed", { reason: request.error.message })
          : (reason ?? (asked ? t("camera.filmAsked") : ""))}
      </output>
    </div>
  );
}

function FilmJob({ job, name }: { job: JobState; name: string }): ReactNode {
  const { films } = useServices();
  const what = t("eventDetail.timelapse");
  return (
    <li className="film-job" data-testid="film-job" data-status={job.status}>
      <span>{t(`eventDetail.${job.status}`, { what })}</span>
      {job.status === "processing" && (
        <progress max={100} value={job.progress} aria-label={t("camera.filmProgress", { name })} />
      )}
      {job.error !== undefined && <span className="job-error">{job.error}</span>}
      {job.films?.map((film) => (
        <FilmLink key={film.url} film={film} camera={job.camera} films={films} />
      ))}
    </li>
  );
}
