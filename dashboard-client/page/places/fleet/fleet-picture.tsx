import { createContext, type ReactNode, useContext, useState } from "react";
import { LivePicture } from "../../components/live-picture.tsx";
import { pictureWidth } from "../../picture-width.ts";
import { useServices } from "../../services.tsx";
import { t } from "../../text/i18n.ts";
import { useLatestPicture } from "../../use-latest-picture.ts";
import type { FleetCamera } from "./use-fleet-camera.ts";

/** Whether the list scrolls now. A card that a quick scroll passes loads no picture. */
export const ScrollingContext = createContext(false);

interface FleetPictureProps {
  camera: FleetCamera;
  /** The width of the picture, about; CSS pixels. */
  pixels: number;
}

export function FleetPicture({ camera, pixels }: FleetPictureProps): ReactNode {
  const scrolling = useContext(ScrollingContext);
  const [wanted, setWanted] = useState(!scrolling);
  if (!wanted && !scrolling) setWanted(true);
  // A camera that never came has no picture to ask for.
  if (camera.state === "never_seen" && camera.preview === undefined) return <NoPicture id={camera.id} />;
  return wanted ? <Latest camera={camera} pixels={pixels} /> : <div className="picture" />;
}

function Latest({ camera: { id, name, preview, live, lostAt }, pixels }: FleetPictureProps): ReactNode {
  const { pictures } = useServices();
  const latest = useLatestPicture(pictures, id, preview?.value.etag, live, { width: pictureWidth(pixels), lostAt });
  return <LivePicture camera={id} alt={t("picture.latest", { name })} latest={latest} />;
}

function NoPicture({ id }: { id: string }): ReactNode {
  return <LivePicture camera={id} alt="" latest={{ picture: undefined, status: "none" }} />;
}
