import type { ReactNode } from "react";
import type { RealTimeData } from "../../state/dashboard-store.ts";
import { worstFirst } from "../camera-order.ts";
import type { Pictures } from "../pictures.ts";
import { t } from "../text/i18n.ts";
import { CameraCard } from "./camera-card.tsx";
import { ErrorBoundary } from "./error-boundary.tsx";

export function CameraGrid({ data, pictures }: { data: RealTimeData; pictures: Pictures }): ReactNode {
  const cameras = worstFirst([...data.cameras.values()]);
  if (cameras.length === 0) return data.loaded ? <NoCameras /> : <LoadingCameras />;
  return (
    <section className="cameras" aria-label={t("fleet.title")}>
      {cameras.map((camera) => (
        <ErrorBoundary key={camera.id} part={camera.id}>
          <CameraCard camera={camera} data={data} pictures={pictures} />
        </ErrorBoundary>
      ))}
    </section>
  );
}

function LoadingCameras(): ReactNode {
  return (
    <section className="cameras" aria-label={t("fleet.title")} aria-busy="true">
      <div className="camera" data-featured="true">
        <div className="picture skeleton" />
      </div>
    </section>
  );
}

function NoCameras(): ReactNode {
  return (
    <section className="cameras" aria-label={t("fleet.title")}>
      <div className="empty">
        <svg viewBox="0 0 120 60" className="empty-scene" aria-hidden="true">
          <circle cx="84" cy="18" r="8" />
          <path d="M6 54 40 16l20 26 10-12 44 24z" />
        </svg>
        <h2>{t("fleet.none")}</h2>
        <p>{t("fleet.noneHint")}</p>
      </div>
    </section>
  );
}
