import type { ReactNode } from "react";

const WIDTH = 160;
const HEIGHT = 36;
const LOWEST_DEGREES = -30;
const HIGHEST_DEGREES = 66;

/** The position of the sun, and the bands of golden and blue hour. North is at both ends of the chart. */
export function SunPath({ elevation, azimuth }: { elevation: number; azimuth: number }): ReactNode {
  const x = ((((azimuth % 360) + 360) % 360) / 360) * WIDTH;
  const y = heightOf(Math.min(HIGHEST_DEGREES, Math.max(LOWEST_DEGREES, elevation)));
  // The upper edge of the sun is visible until its centre is 0.8° below the horizon.
  const isUp = elevation > -0.8;
  return (
    <svg className="sun-path" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} aria-hidden="true">
      <rect className="sun-golden" x="0" width={WIDTH} y={heightOf(6)} height={heightOf(-6) - heightOf(6)} />
      <rect className="sun-blue" x="0" width={WIDTH} y={heightOf(-6)} height={heightOf(-12) - heightOf(-6)} />
      <line className="sun-horizon" x1="0" x2={WIDTH} y1={heightOf(0)} y2={heightOf(0)} />
      {[0.25, 0.5, 0.75].map((share) => (
        <path key={share} className="sun-tick" d={`M${share * WIDTH} ${heightOf(0) - 2}v4`} />
      ))}
      <circle className="sun-glow" cx={x} cy={y} r="8" data-up={isUp} />
      <circle className="sun-disc" cx={x} cy={y} r="3.4" data-up={isUp} />
    </svg>
  );
}

function heightOf(elevation: number): number {
  return ((HIGHEST_DEGREES - elevation) / (HIGHEST_DEGREES - LOWEST_DEGREES)) * HEIGHT;
}

/** The text `camera.light.{name}` names the light. */
export function lightOf(elevation: number): "night" | "blue" | "golden" | "day" {
  if (elevation < -12) return "night";
  if (elevation < -6) return "blue";
  return elevation < 6 ? "golden" : "day";
}
