import type { ReactNode } from "react";
import { Icon } from "../../../components/icon.tsx";
import { t } from "../../../text/i18n.ts";
import { type Player, SPEEDS, type Speed } from "./use-player.ts";

const HOUR_MS = 3_600_000;
/** The times before now that the player shows. Undefined: all pictures that are kept. */
export const RANGES = { all: undefined, day: 24 * HOUR_MS, quarter: 6 * HOUR_MS, hour: HOUR_MS } as const;
export type RangeName = keyof typeof RANGES;
const RANGE_NAMES: readonly RangeName[] = ["all", "day", "quarter", "hour"];

interface PlayerControlsProps {
  player: Player;
  /** False with fewer than two pictures. */
  canPlay: boolean;
  range: RangeName;
  onRange: (range: RangeName) => void;
  /** The time of the shown picture. */
  children: ReactNode;
}

export function PlayerControls({ player, canPlay, range, onRange, children }: PlayerControlsProps): ReactNode {
  const { frame, isPlaying, speed, setSpeed, toggle, step, showLive } = player;
  const reason = canPlay ? undefined : t("camera.nothingToPlay");
  return (
    <div className="player-controls">
      <div className="player-buttons">
        <button
          type="button"
          className="icon-button"
          aria-label={t("camera.stepBack")}
          title={reason}
          disabled={!canPlay}
          onClick={() => step(-1)}
        >
          <span aria-hidden="true">‹</span>
        </button>
        <button
          type="button"
          className="icon-button player-play"
          data-testid="player-play"
          aria-label={t(isPlaying ? "camera.pauseButton" : "camera.play")}
          title={reason}
          disabled={!canPlay}
          onClick={toggle}
        >
          <Icon name={isPlaying ? "pause" : "play"} />
        </button>
        <button
          type="button"
          className="icon-button"
          aria-label={t("camera.stepForward")}
          title={reason}
          disabled={!canPlay}
          onClick={() => step(1)}
        >
          <span aria-hidden="true">›</span>
        </button>
      </div>
      {children}
      <div className="player-choices">
        {frame !== undefined && (
          <button type="button" className="button player-live" data-testid="back-to-now" onClick={showLive}>
            <Icon name="clock" />
            <span>{t("camera.backToLive")}</span>
          </button>
        )}
        <select
          className="player-select"
          aria-label={t("camera.speed")}
          value={speed}
          onChange={(event) => setSpeed(Number(event.target.value) as Speed)}
        >
          {SPEEDS.map((each) => (
            <option key={each} value={each}>
              {t("camera.perSecond", { count: each })}
            </option>
          ))}
        </select>
        <select
          className="player-select"
          data-testid="player-range"
          aria-label={t("camera.range")}
          value={range}
          onChange={(event) => onRange(event.target.value as RangeName)}
        >
          {RANGE_NAMES.map((each) => (
            <option key={each} value={each}>
              {t(`camera.ranges.${each}`)}
            </option>
          ))}
        </select>
      </div>
    </div>
  );
}
