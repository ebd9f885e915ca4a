import { type ReactNode, useEffect, useMemo, useRef, useState } from "react";
import type { LinkGap } from "../../../../../contract/events.ts";
import type { CameraState } from "../../../../state/camera-state.ts";
import { recentGaps } from "../../../components/camera-gaps.tsx";
import { Icon } from "../../../components/icon.tsx";
import { type PictureWidth, pictureWidth } from "../../../picture-width.ts";
import type { Picture } from "../../../pictures.ts";
import { zoneFor } from "../../../preferences.ts";
import { useServices } from "../../../services.tsx";
import { pictureTime } from "../../../text/camera-status.ts";
import { formatAge, formatSpan, formatTime } from "../../../text/format.ts";
import { t } from "../../../text/i18n.ts";
import { useLatestPicture } from "../../../use-latest-picture.ts";
import { useNow } from "../../../use-now.ts";
import { CaptureButton } from "./capture-button.tsx";
import { Film } from "./film.ts";
import { Films } from "./films.tsx";
import { type Frame, pausesOf } from "./frame-times.ts";
import { PlayerControls, RANGES, type RangeName } from "./player-controls.tsx";
import { Stage } from "./stage.tsx";
import { Timeline } from "./timeline.tsx";
import { useFrame } from "./use-frame.ts";
import { useFrames } from "./use-frames.ts";
import { type Player, usePlayer } from "./use-player.ts";

const MINUTE_MS = 60_000;
/** The pictures of a running player have at most this width, so that a link of a mountain keeps up. */
const PLAYED_PIXELS = 640;

interface PicturePlayerProps {
  camera: CameraState;
  live: boolean;
  /** When events were lost last, milliseconds since 1970. */
  lostAt: number | undefined;
}

/** The latest picture of a camera, and a player for all that are kept. */
export function PicturePlayer({ camera, live, lostAt }: PicturePlayerProps): ReactNode {
  const { pictures } = useServices();
  const { id } = camera;
  const name = camera.about?.value.name ?? id;
  const zone = zoneFor(camera.about?.value.location.timezone);
  const minute = Math.floor(useNow() / MINUTE_MS) * MINUTE_MS;
  const [range, setRange] = useState<RangeName>("all");
  const newest = useNewestFrame(camera);
  const { kept, error, retry } = useFrames(id, RANGES[range], newest);
  const frames = kept?.frames ?? [];
  const strip = useFilmOf(id, 160);
  const soft = useFilmOf(id, pictureWidth(Math.min(innerWidth, PLAYED_PIXELS), { pixelRatio: 1 }));
  const sharp = useFilmOf(id, pictureWidth(innerWidth));
  const player = usePlayer(frames, soft);
  const gaps = useMemo(() => recentGaps(camera, minute), [camera, minute]);

  const latest = useLatestPicture(pictures, id, camera.preview?.value.etag, live, {
    width: pictureWidth(innerWidth),
    lostAt,
  });
  const softPicture = useFrame(soft, player.frame?.capture);
  const sharpPicture = useFrame(sharp, player.isPlaying ? undefined : player.frame?.capture);
  const shown = useLastShown(player.frame === undefined ? latest.picture : (sharpPicture ?? softPicture));
  const isBack = player.frame !== undefined;
  const empty = isBack || latest.status === "loading" || latest.status === "shown" ? undefined : latest.status;
  return (
    <section className="player" aria-label={t("camera.player", { name })} data-back={isBack}>
      <Stage
        camera={id}
        alt={t(isBack ? "picture.earlier" : "picture.latest", { name })}
        picture={shown}
        empty={empty && t(empty === "none" ? "camera.noPicture" : "camera.pictureFailed")}
        notice={pauseNotice(player, frames, gaps, { zone, minute })}
        corner={<CaptureButton camera={id} name={name} />}
      >
        <div className="player-bar">
          <PlayerControls player={player} canPlay={frames.length > 1} range={range} onRange={setRange}>
            <PictureTime camera={camera} frame={player.frame} latest={latest.picture} zone={zone} />
          </PlayerControls>
          {frames.length > 1 && (
            <Timeline frames={frames} film={strip} gaps={gaps} zone={zone} minute={minute} player={player} />
          )}
          {error !== null && kept === undefined && (
            <p className="form-problem" role="alert">
              <span>{t("common.loadingFailed", { reason: error.message })}</span>
              <button type="button" className="text-button" onClick={() => void retry()}>
                {t("common.retry")}
              </button>
            </p>
          )}
        </div>
      </Stage>
      <Films camera={id} name={name} frames={frames} total={kept?.total} zone={zone} />
    </section>
  );
}

function useNewestFrame({ preview }: CameraState): Frame | undefined {
  const capture = preview?.value.capture;
  const at = Date.parse(preview?.value.taken_at ?? preview?.at ?? "");
  return useMemo(() => (capture === undefined || Number.isNaN(at) ? undefined : { capture, at }), [capture, at]);
}

/** Pictures of one width. A width of undefined means the whole pictures. */
function useFilmOf(camera: string, width: PictureWidth | undefined): Film | undefined {
  const { pictures } = useServices();
  const [size] = useState(width);
  const [film, setFilm] = useState<Film>();
  useEffect(() => {
    const next = new Film({ frame: (id, capture, signal) => pictures.frame(id, capture, signal, size) }, camera);
    setFilm(next);
    return () => next.close();
  }, [pictures, camera, size]);
  return film;
}

/** While a picture is loading, the one before stays. */
function useLastShown(picture: Picture | undefined): Picture | undefined {
  const last = useRef(picture);
  if (picture !== undefined) last.current = picture;
  return last.current;
}

interface Clock {
  zone: string | undefined;
  minute: number;
}

/** Says that there is no picture at the chosen time, and whether events were lost. */
function pauseNotice(
  { time }: Player,
  frames: readonly Frame[],
  gaps: readonly LinkGap[],
  { zone, minute }: Clock,
): string | undefined {
  if (time === undefined) return undefined;
  const pause = pausesOf(frames).find(({ from, to }) => time > from && time < to);
  if (pause === undefined) return undefined;
  const [from, to] = [new Date(pause.from).toISOString(), new Date(pause.to).toISOString()];
  const lost = gaps
    .filter((gap) => gap.filled !== true && Date.parse(gap.from) < pause.to && Date.parse(gap.to) > pause.from)
    .reduce((sum, { count }) => sum + count, 0);
  const span = formatSpan(from, to, zone, minute);
  return lost === 0 ? t("camera.pause", { span }) : t("camera.pauseLost", { span, count: lost });
}

interface PictureTimeProps {
  camera: CameraState;
  frame: Frame | undefined;
  latest: Picture | undefined;
  zone: string | undefined;
}

function PictureTime({ camera, frame, latest, zone }: PictureTimeProps): ReactNode {
  const now = useNow();
  const taken =
    frame === undefined
      ? pictureTime(camera, latest, now)
      : { text: t("picture.taken", { time: formatTime(frame.at, zone, now) }), age: formatAge(frame.at, now) };
  return (
    <p className="player-time" data-testid={`picture-time-${camera.id}`}>
      {taken === undefined ? (
        <Icon name="clock" />
      ) : (
        <>
          <span>{taken.text}</span>
          <span className="player-age">{taken.age}</span>
        </>
      )}
    </p>
  );
}
