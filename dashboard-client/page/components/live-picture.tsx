import type { ReactNode } from "react";
import { t } from "../text/i18n.ts";
import type { LatestPicture } from "../use-latest-picture.ts";
import { Icon } from "./icon.tsx";

/** The text that the page shows in place of a missing picture. */
function emptyText(status: LatestPicture["status"]): string {
  return status === "none" || status === "failed" ? t(`picture.${status}`) : "";
}

interface LivePictureProps {
  camera: string;
  alt: string;
  latest: LatestPicture;
}

/** A picture that fades into the next picture. The box keeps the aspect ratio, so that the layout does not shift. */
export function LivePicture({ camera, alt, latest: { picture, before, status } }: LivePictureProps): ReactNode {
  return (
    <div className="picture" data-testid={`live-picture-${camera}`} data-status={status}>
      {before !== undefined && <img src={before.src} alt="" />}
      {picture !== undefined && <img key={picture.src} className="picture-now" src={picture.src} alt={alt} />}
      {picture === undefined && (
        <div className={status === "loading" ? "picture-empty skeleton" : "picture-empty"}>
          {status !== "loading" && <Icon name="picture" />}
          <span>{emptyText(status)}</span>
        </div>
      )}
    </div>
  );
}
