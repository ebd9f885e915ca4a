import type { ReactNode } from "react";
import { Link } from "wouter";
import type { CameraState } from "../../state/camera-state.ts";
import type { RealTimeData } from "../../state/dashboard-store.ts";
import { pictureWidth } from "../picture-width.ts";
import type { Pictures } from "../pictures.ts";
import { cameraStatus, pictureTime } from "../text/camera-status.ts";
import { gapTitle } from "../text/gap-text.ts";
import { t } from "../text/i18n.ts";
import { useLatestPicture } from "../use-latest-picture.ts";
import { useNow } from "../use-now.ts";
import { recentGaps } from "./camera-gaps.tsx";
import { CaptureNow } from "./capture-now.tsx";
import { Icon } from "./icon.tsx";
import { LivePicture } from "./live-picture.tsx";

/** The usual width of a card in the fleet, CSS pixels. */
const CARD_PIXELS = 320;

interface CameraCardProps {
  camera: CameraState;
  data: RealTimeData;
  pictures: Pictures;
}

/** A picture of one camera, with the status, the time and the button "Capture now". */
export function CameraCard({ camera, data, pictures }: CameraCardProps): ReactNode {
  const now = useNow();
  const { id } = camera;
  const name = camera.about?.value.name ?? id;
  const presence = camera.presence?.value.status ?? "unknown";
  const latest = useLatestPicture(pictures, id, camera.preview?.value.etag, data.live, {
    width: pictureWidth(Math.min(innerWidth, CARD_PIXELS)),
    lostAt: data.gap?.at,
  });
  const status = cameraStatus(camera, data.live, now);
  const missing = recentGaps(camera, now).reduce((sum, { count }) => sum + count, 0);
  const taken = pictureTime(camera, latest.picture, now);
  return (
    <article className="camera" data-testid={`camera-card-${id}`} data-live={data.live} data-presence={presence}>
      <div className="camera-view on-picture">
        <LivePicture camera={id} alt={t("picture.latest", { name })} latest={latest} />
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
          {missing > 0 && (
            <div className="pill status gap-pill" data-tone="warn" title={gapTitle({ count: missing })}>
              <Icon name="gap" />
              <span>{t("gap.missing", { count: missing })}</span>
            </div>
          )}
        </div>
        <div className="camera-bottom">
          <div className="camera-words">
            <h2 className="camera-name">
              <Link className="camera-choose" href={`/cameras/${id}`} aria-label={t("fleet.enlarge", { name })}>
                {name}
              </Link>
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
    </article>
  );
}
