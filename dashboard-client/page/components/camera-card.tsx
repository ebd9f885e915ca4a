import { type ReactNode, useState } from "react";
import { Link } from "wouter";
import type { CameraState } from "../../state/camera-state.ts";
import type { RealTimeData } from "../../state/dashboard-store.ts";
import { pictureWidth } from "../picture-width.ts";
import type { Pictures } from "../pictures.ts";
import { zoneFor } from "../preferences.ts";
import { cameraStatus, pictureTime } from "../text/camera-status.ts";
import { formatAge, formatTime } from "../text/format.ts";
import { gapTitle } from "../text/gap-text.ts";
import { t } from "../text/i18n.ts";
import { type Frame, useFilm, useFrame } from "../use-film.ts";
import { useLatestPicture } from "../use-latest-picture.ts";
import { useNow } from "../use-now.ts";
import { CameraFacts } from "./camera-facts.tsx";
import { CameraGaps, recentGaps } from "./camera-gaps.tsx";
import { CaptureNow } from "./capture-now.tsx";
import { Filmstrip } from "./filmstrip.tsx";
import { Icon } from "./icon.tsx";
import { LivePicture } from "./live-picture.tsx";

/** The usual width of a card in the fleet, CSS pixels. */
const CARD_PIXELS = 320;

interface CameraCardProps {
  camera: CameraState;
  data: RealTimeData;
  pictures: Pictures;
  featured: boolean;
}

/**
 * A picture of one camera, with the status, the time and the button "Capture now". The featured card also has the
 * filmstrip, the gaps and the measurements.
 */
export function CameraCard({ camera, data, pictures, featured }: CameraCardProps): ReactNode {
  const now = useNow();
  const { id } = camera;
  const name = camera.about?.value.name ?? id;
  const timeZone = camera.about?.value.location.timezone;
  const presence = camera.presence?.value.status ?? "unknown";
  const width = featured ? undefined : pictureWidth(Math.min(innerWidth, CARD_PIXELS));
  const latest = useLatestPicture(pictures, id, camera.preview?.value.etag, data.live, width);
  const status = cameraStatus(camera, data.live, now);
  const [chosen, setChosen] = useState<Frame>();
  const showLive = () => setChosen(undefined);
  const film = useFilm(pictures, id, frameOf(camera), featured);
  /** The earlier picture that the user chose. */
  const back = featured ? chosen : undefined;
  const backPicture = useFrame(film.film, back?.capture);
  const gaps = recentGaps(camera, now);
  const missing = gaps.reduce((sum, { count }) => sum + count, 0);
  const taken =
    back === undefined
      ? pictureTime(camera, latest.picture, now)
      : {
          text: t("picture.taken", { time: formatTime(back.takenAt, zoneFor(timeZone), now) }),
          age: formatAge(back.takenAt, now),
        };
  return (
    <article
      className="camera"
      data-testid={`camera-card-${id}`}
      data-featured={featured}
      data-live={data.live}
      data-presence={presence}
    >
      <div className="camera-view on-picture" data-back={back !== undefined}>
        <LivePicture
          camera={id}
          alt={t(back === undefined ? "picture.latest" : "picture.earlier", { name })}
          latest={back === undefined ? latest : { picture: backPicture ?? latest.picture, status: "shown" }}
          whole={featured}
        />
        <div className="camera-top">
          <div
            className="pill status"
            data-testid={`camera-status-${id}`}
            data-tone={status.tone}
            data-status={presence}
          >
            <span className="dot" aria-hidden="true" />
            <span>{status.label}</span>
            {status.detail !== "" && <span className="status-detail">{status.detail}</span>}
          </div>
          {!featured && missing > 0 && (
            <div className="pill status gap-pill" data-tone="warn" title={gapTitle({ count: missing })}>
              <Icon name="gap" />
              <span>{t("gap.missing", { count: missing })}</span>
            </div>
          )}
          {back !== undefined && (
            <button type="button" className="pill back-button" data-testid="back-to-now" onClick={showLive}>
              <Icon name="clock" />
              <span>{t("camera.backToLive")}</span>
            </button>
          )}
        </div>
        <div className="camera-bottom">
          <div className="camera-words">
            <h2 className="camera-name">
              {featured ? (
                name
              ) : (
                <Link className="camera-choose" href={`/cameras/${id}`} aria-label={t("fleet.enlarge", { name })}>
                  {name}
                </Link>
              )}
            </h2>
            <p className="camera-time" data-testid={`picture-time-${id}`}>
              {taken !== undefined && (
                <>
                  <span>{taken.text}</span>
                  <span className="camera-age">{taken.age}</span>
                </>
              )}
            </p>
          </div>
          <CaptureNow camera={id} name={name} data={data} />
        </div>
      </div>
      {featured && (
        <>
          <Filmstrip name={name} view={film} gaps={gaps} zone={timeZone} chosen={back?.capture} onChoose={setChosen} />
          <CameraGaps camera={camera} />
          <CameraFacts camera={camera} live={data.live} />
        </>
      )}
    </article>
  );
}

function frameOf({ preview }: CameraState): Frame | undefined {
  return preview && { capture: preview.value.capture, takenAt: preview.value.taken_at ?? preview.at };
}
