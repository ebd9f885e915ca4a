import type { ReactNode } from "react";
import type { CameraState } from "../../camera-state.ts";
import type { RealTimeData } from "../../dashboard-store.ts";
import type { Pictures } from "../pictures.ts";
import { cameraStatus, pictureTime } from "../text/camera-status.ts";
import { useLatestPicture } from "../use-latest-picture.ts";
import { useNow } from "../use-now.ts";
import { CameraFacts } from "./camera-facts.tsx";
import { CaptureNow } from "./capture-now.tsx";
import { LivePicture } from "./live-picture.tsx";

export interface CameraCardProps {
  camera: CameraState;
  data: RealTimeData;
  pictures: Pictures;
  featured: boolean;
  onFeature: () => void;
}

/** One camera: its latest picture, and over it how the camera stands, when the picture was taken, and "capture now". */
export function CameraCard({ camera, data, pictures, featured, onFeature }: CameraCardProps): ReactNode {
  const now = useNow();
  const { id } = camera;
  const name = camera.about?.value.name ?? id;
  const latest = useLatestPicture(pictures, id, camera.preview?.value.etag, data.live);
  const status = cameraStatus(camera, data.live, now);
  const taken = pictureTime(camera, latest.picture, now);
  return (
    <article className="camera" data-testid={`camera-card-${id}`} data-featured={featured} data-live={data.live}>
      <div className="camera-view">
        <LivePicture camera={id} alt={`Latest picture of ${name}`} latest={latest} whole={featured} />
        <div className="camera-top">
          <div
            className="pill status"
            data-testid={`camera-status-${id}`}
            data-tone={status.tone}
            data-status={camera.presence?.value.status ?? "unknown"}
          >
            <span className="dot" aria-hidden="true" />
            <span>{status.label}</span>
            {status.detail !== "" && <span className="status-detail">{status.detail}</span>}
          </div>
        </div>
        <div className="camera-bottom">
          <div className="camera-words">
            <h2 className="camera-name">
              {featured ? (
                name
              ) : (
                <button type="button" className="camera-choose" onClick={onFeature} aria-label={`Show ${name} large`}>
                  {name}
                </button>
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
      {featured && <CameraFacts camera={camera} live={data.live} />}
    </article>
  );
}
