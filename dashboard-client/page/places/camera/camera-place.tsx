import { type ReactNode, Suspense, useCallback } from "react";
import { Link, useParams } from "wouter";
import type { CameraState } from "../../../state/camera-state.ts";
import type { RealTimeData } from "../../../state/dashboard-store.ts";
import { ErrorBoundary } from "../../components/error-boundary.tsx";
import { navigate } from "../../hash-location.ts";
import { usePlaceTitle } from "../../shell/page-title.ts";
import { cameraStatus } from "../../text/camera-status.ts";
import { t } from "../../text/i18n.ts";
import { Tabs } from "../../ui/tabs.tsx";
import { useDashboard } from "../../use-dashboard.ts";
import { useNow } from "../../use-now.ts";
import { CAMERA_TABS, type CameraTabName } from "./camera-tabs.tsx";

/** One camera: `#/cameras/north`, and its parts, such as `#/cameras/north/charts`. */
export default function CameraPlace(): ReactNode {
  const { camera: id = "", "*": part = "" } = useParams<{ camera: string; "*": string }>();
  const { camera, live, loaded, grants } = useDashboard(
    useCallback(
      ({ cameras, live, loaded, grants }: RealTimeData) => ({ camera: cameras.get(id), live, loaded, grants }),
      [id],
    ),
  );
  const name = camera?.about?.value.name ?? id;
  usePlaceTitle(name);
  if (camera === undefined)
    return <p className="place-loading">{loaded ? t("camera.notFound", { id }) : t("common.loading")}</p>;
  const tabs = CAMERA_TABS.filter(({ isAllowed }) => isAllowed?.(grants, id) ?? true);
  const tab = tabs.find((each) => each.name === part)?.name ?? "overview";
  const open = (next: CameraTabName): void => navigate(`/cameras/${id}${next === "overview" ? "" : `/${next}`}`);
  return (
    <div className="place camera-place" data-live={live} data-testid={`camera-place-${id}`}>
      <header className="camera-head">
        <Link className="camera-head-back" href="/" aria-label={t("place.backToFleet")}>
          <span aria-hidden="true">←</span>
        </Link>
        <h1>{name}</h1>
        <Status camera={camera} live={live} />
      </header>
      <Tabs
        label={t("camera.parts", { name })}
        value={tab}
        onChange={open}
        tabs={tabs.map(({ name: each, Content }) => ({
          name: each,
          title: t(`camera.tab.${each}`),
          content: (
            <ErrorBoundary key={`${id} ${each}`} part={t(`camera.tab.${each}`)}>
              <Suspense fallback={<p className="place-loading">{t("common.loading")}</p>}>
                <Content key={id} camera={id} />
              </Suspense>
            </ErrorBoundary>
          ),
        }))}
      />
    </div>
  );
}

/** Rendered every second, apart from the rest of the place. */
function Status({ camera, live }: { camera: CameraState; live: boolean }): ReactNode {
  const { label, detail, tone } = cameraStatus(camera, live, useNow());
  return (
    <div className="camera-head-status" data-tone={tone}>
      <span className="dot" aria-hidden="true" />
      <span>{label}</span>
      {detail !== "" && <span className="camera-head-detail">{detail}</span>}
    </div>
  );
}
