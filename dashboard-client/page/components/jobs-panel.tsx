import type { ReactNode } from "react";
import type { JobState } from "../../state/dashboard-state.ts";
import type { RealTimeData } from "../../state/dashboard-store.ts";
import type { FilmLinks } from "../film-links.ts";
import { nameOf } from "../text/camera-status.ts";
import { useNow } from "../use-now.ts";
import { FilmLink } from "./film-link.tsx";

/** How long a removed job is shown, milliseconds. */
const ENDED_SHOWN_MS = 60_000;
const MAX_SHOWN = 6;

const RANK = { processing: 0, queued: 1, failed: 2, completed: 3 };

export function JobsPanel({ data, films }: { data: RealTimeData; films: FilmLinks }): ReactNode {
  const now = useNow();
  const jobs = [...data.jobs]
    .filter(([, { cleared, at }]) => !cleared || now - Date.parse(at) < ENDED_SHOWN_MS)
    .sort(([one, a], [other, b]) => RANK[a.status] - RANK[b.status] || one.localeCompare(other));
  if (jobs.length === 0) return null;
  return (
    <section className="panel" aria-labelledby="jobs-title">
      <div className="panel-head">
        <h2 id="jobs-title">Processing</h2>
        {jobs.length > MAX_SHOWN && <span className="panel-note">{`${jobs.length} jobs`}</span>}
      </div>
      <ul className="jobs">
        {jobs.slice(0, MAX_SHOWN).map(([key, job]) => (
          <JobRow key={key} job={job} camera={nameOf(data, job.camera)} films={films} />
        ))}
      </ul>
    </section>
  );
}

interface JobRowProps {
  job: JobState;
  /** The name of the camera. */
  camera: string | undefined;
  films: FilmLinks;
}

function JobRow({ job, camera, films }: JobRowProps): ReactNode {
  const kind = job.type === "timelapse_assembly" ? "Timelapse" : "Images";
  const title = job.simulated === true ? `Simulated ${kind.toLowerCase()}` : kind;
  const percent = Math.round(job.progress);
  const state = { queued: "Queued", processing: `${percent} %`, completed: "Done", failed: "Failed" }[job.status];
  return (
    <li className="job" data-testid="job-row" data-status={job.status}>
      <p className="job-title">
        <span>
          <span>{title}</span>
          {camera !== undefined && <span className="job-camera">{` ${camera}`}</span>}
        </span>
        <span className="job-state">{state}</span>
      </p>
      <div
        className="progress"
        role="progressbar"
        aria-label={`${title}${camera === undefined ? "" : ` of ${camera}`}`}
        aria-valuenow={percent}
        aria-valuemin={0}
        aria-valuemax={100}
      >
        <span style={{ transform: `scaleX(${job.status === "completed" ? 1 : job.progress / 100})` }} />
      </div>
      {job.error !== undefined && <p className="job-error">{job.error}</p>}
      {job.films?.map((film) => (
        <FilmLink key={film.url} film={film} camera={job.camera} films={films} />
      ))}
    </li>
  );
}
