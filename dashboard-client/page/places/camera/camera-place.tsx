import type { ReactNode } from "react";
import { useParams } from "wouter";
import { useRealTimeData } from "../../../react/use-real-time-data.ts";
import { CameraCard } from "../../components/camera-card.tsx";
import { useServices } from "../../services.tsx";
import { usePlaceTitle } from "../../shell/page-title.ts";
import { nameOf } from "../../text/camera-status.ts";
import { t } from "../../text/i18n.ts";

export default function CameraPlace(): ReactNode {
  const { camera: id = "" } = useParams<{ camera: string }>();
  const data = useRealTimeData();
  const { pictures } = useServices();
  usePlaceTitle(nameOf(data, id) ?? id);
  const camera = data.cameras.get(id);
  if (camera === undefined)
    return <p className="place-loading">{data.loaded ? t("camera.notFound", { id }) : t("common.loading")}</p>;
  return (
    <div className="place" data-live={data.live}>
      <CameraCard key={id} camera={camera} data={data} pictures={pictures} featured />
    </div>
  );
}
