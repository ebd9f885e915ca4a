import { type KeyboardEvent, type ReactNode, useEffect, useRef, useState } from "react";
import { Icon } from "../../../components/icon.tsx";
import type { Picture } from "../../../pictures.ts";
import { t } from "../../../text/i18n.ts";
import { useZoom } from "./use-zoom.ts";

interface StageProps {
  camera: string;
  alt: string;
  picture: Picture | undefined;
  /** Why there is no picture. */
  empty: string | undefined;
  /** A sentence over the picture, such as for a time without pictures. */
  notice: string | undefined;
  /** Over the picture, at the lower right. */
  corner: ReactNode;
  /** Below the picture, also on the whole screen. */
  children: ReactNode;
}

const SHIFT = 0.1;

/** The large picture, which people zoom and see on the whole screen. */
export function Stage({ camera, alt, picture, empty, notice, corner, children }: StageProps): ReactNode {
  const { box, view, handlers, zoomIn, zoomOut, reset, shift } = useZoom();
  const frame = useRef<HTMLDivElement>(null);
  const isFull = useFullScreen();
  const isZoomed = view.scale > 1;

  const press = (event: KeyboardEvent): void => {
    const action = {
      ...{ "+": zoomIn, "=": zoomIn, "-": zoomOut, "0": reset },
      ...(isZoomed && {
        ArrowLeft: () => shift(SHIFT, 0),
        ArrowRight: () => shift(-SHIFT, 0),
        ArrowUp: () => shift(0, SHIFT),
        ArrowDown: () => shift(0, -SHIFT),
      }),
    }[event.key];
    if (action === undefined || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    action();
  };

  const toggleFull = (): void => {
    if (isFull) void document.exitFullscreen();
    else void frame.current?.requestFullscreen().catch(() => {});
  };

  const style = { transform: `translate(${view.x * 100}%, ${view.y * 100}%) scale(${view.scale})` };
  return (
    <div className={isFull ? "stage on-picture" : "stage"} ref={frame} data-full={isFull}>
      <div className="stage-view on-picture">
        {/* biome-ignore lint/a11y/useSemanticElements: a fieldset would be announced as a form */}
        <div
          ref={box}
          className="stage-box"
          role="group"
          // biome-ignore lint/a11y/noNoninteractiveTabindex: the keyboard zooms and shifts the picture
          tabIndex={0}
          aria-label={t("camera.zoomHint")}
          data-zoomed={isZoomed}
          data-testid={`live-picture-${camera}`}
          onKeyDown={press}
          onDoubleClick={() => (isZoomed ? reset() : zoomIn())}
          {...handlers}
        >
          {picture === undefined ? (
            <div className={empty === undefined ? "stage-empty skeleton" : "stage-empty"}>
              {empty !== undefined && <Icon name="picture" />}
              <span>{empty}</span>
            </div>
          ) : (
            <img
              src={picture.src}
              alt={alt}
              width={picture.width}
              height={picture.height}
              draggable={false}
              style={style}
            />
          )}
        </div>
        {notice !== undefined && (
          <p className="stage-notice" data-testid="stage-notice">
            <Icon name="gap" />
            <span>{notice}</span>
          </p>
        )}
        <div className="stage-tools">
          <button type="button" aria-label={t("camera.zoomOut")} disabled={!isZoomed} onClick={zoomOut}>
            <span aria-hidden="true">−</span>
          </button>
          <button
            type="button"
            className="stage-scale"
            aria-label={t("camera.zoomReset", { scale: Math.round(view.scale * 100) })}
            disabled={!isZoomed}
            onClick={reset}
            data-testid="zoom-scale"
          >
            {`${Math.round(view.scale * 100)} %`}
          </button>
          <button type="button" aria-label={t("camera.zoomIn")} disabled={view.scale >= 8} onClick={zoomIn}>
            <span aria-hidden="true">+</span>
          </button>
          <button type="button" aria-label={t(isFull ? "camera.leaveFull" : "camera.full")} onClick={toggleFull}>
            <Icon name="full" />
          </button>
        </div>
        {corner}
      </div>
      {children}
    </div>
  );
}

function useFullScreen(): boolean {
  const [isFull, setFull] = useState(false);
  useEffect(() => {
    const note = (): void => setFull(document.fullscreenElement !== null);
    document.addEventListener("fullscreenchange", note);
    return () => document.removeEventListener("fullscreenchange", note);
  }, []);
  return isFull;
}
