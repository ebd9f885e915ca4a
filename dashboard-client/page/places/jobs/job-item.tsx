import type { ReactNode } from "react";
import { Link } from "wouter";
import type { JobState } from "../../../state/dashboard-state.ts";
import { FilmLink } from "../../components/film-link.tsx";
import { useServices } from "../../services.tsx";
import { t } from "../../text/i18n.ts";
import { When } from "../../ui/when.tsx";
import { useCameraNames } from "../../use-cameras.ts";

const TONES = { queued: "quiet", processing: "warn", completed: "good", failed: "bad" };

/** A job that a service has not removed yet. */
export function JobItem({ job }: { job: JobState }): ReactNode {
  const { films } = useServices();
  const names = useCameraNames();
  const { camera, service, type, status, progress, simulated, error, at } = job;
  const title = t(type === "timelapse_assembly" ? "eventDetail.timelapse" : "eventDetail.images");
  const percent = Math.round(progress);
  const name = camera === undefined ? undefined : (names[camera] ?? camera);
  return (
    <li className="jobs-item" data-testid="job-row" data-status={status} data-tone={TONES[status]}>
      <p>
        <span className="jobs-name">{title}</span>
        {camera !== undefined && <Link href={`/cameras/${camera}`}>{name}</Link>}
        {simulated === true && <span className="tag">{t("eventDetail.simulated")}</span>}
        <span className="jobs-status">{status === "processing" ? `${percent} %` : t(`jobs.${status}`)}</span>
      </p>
      {(status === "processing" || status === "queued") && (
        <div
          className="progress"
          role="progressbar"
          aria-label={name === undefined ? title : t("jobs.progressOf", { what: title, camera: name })}
          aria-valuenow={percent}
          aria-valuemin={0}
          aria-valuemax={100}
        >
          <span style={{ transform: `scaleX(${progress / 100})` }} />
        </div>
      )}
      {error !== undefined && <p className="form-problem">{error}</p>}
      <p className="jobs-about">
        <span>{t("jobs.by", { service })}</span>
        {job.outputs !== undefined && <span>{job.outputs.join(", ")}</span>}
        <When at={at} form="age" />
      </p>
      {job.films !== undefined && (
        <div className="films">
          {job.films.map((film) => (
            <FilmLink key={film.url} film={film} camera={camera} films={films} />
          ))}
        </div>
      )}
    </li>
  );
}
