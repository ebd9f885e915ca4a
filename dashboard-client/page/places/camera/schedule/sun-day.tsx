import type { ReactNode } from "react";
import { formatNumber } from "../../../text/format.ts";
import { t } from "../../../text/i18n.ts";
import { type DayPlan, shareOf } from "./plan.ts";

const WIDTH = 1000;
const HEIGHT = 200;
const HIGHEST_DEGREES = 72;
const LOWEST_DEGREES = -72;

/** A day's sun curve with the windows of a schedule. The list of windows below says the same in words. */
export function SunDay({ plan, now }: { plan: DayPlan; now: number }): ReactNode {
  const { day, windows, sun, hours } = plan;
  const x = (at: number): number => shareOf(day, at) * WIDTH;
  const curve = sun.map(({ at, elevation }, index) => `${index === 0 ? "M" : "L"}${x(at)} ${y(elevation)}`).join("");
  const isToday = now >= day.start.getTime() && now < day.end.getTime();
  return (
    <div className="sun-day">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
        <rect className="sun-golden" x="0" width={WIDTH} y={y(6)} height={y(-6) - y(6)} />
        <rect className="sun-blue" x="0" width={WIDTH} y={y(-6)} height={y(-12) - y(-6)} />
        {windows.map(({ start, end }) => (
          <rect
            key={`${start.getTime()} ${end.getTime()}`}
            className="sun-day-window"
            x={x(start.getTime())}
            width={Math.max(2, x(end.getTime()) - x(start.getTime()))}
            y="0"
            height={HEIGHT}
          />
        ))}
        <line className="sun-horizon" x1="0" x2={WIDTH} y1={y(0)} y2={y(0)} />
        {hours.map(({ hour, at }) => (
          <line key={hour} className="sun-day-hour" x1={x(at)} x2={x(at)} y1="0" y2={HEIGHT} />
        ))}
        <path className="sun-day-curve" d={curve} />
        {isToday && <line className="sun-day-now" x1={x(now)} x2={x(now)} y1="0" y2={HEIGHT} />}
      </svg>
      <div className="sun-day-axis" aria-hidden="true">
        {hours.map(({ hour, at }) => (
          <span key={hour} style={{ left: `${shareOf(day, at) * 100}%` }}>
            {`${String(hour).padStart(2, "0")}:00`}
          </span>
        ))}
      </div>
      <p className="sun-day-legend">
        <span className="legend-window">{t("schedule.legendWindow")}</span>
        <span className="legend-golden">{t("schedule.legendGolden")}</span>
        <span className="legend-blue">{t("schedule.legendBlue")}</span>
        <span>{t("schedule.legendHighest", { degrees: formatNumber(Math.max(...sun.map((s) => s.elevation))) })}</span>
      </p>
    </div>
  );
}

function y(elevation: number): number {
  const shown = Math.min(HIGHEST_DEGREES, Math.max(LOWEST_DEGREES, elevation));
  return ((HIGHEST_DEGREES - shown) / (HIGHEST_DEGREES - LOWEST_DEGREES)) * HEIGHT;
}
