import type { ReactNode } from "react";

const WIDTH = 120;
const HEIGHT = 28;

/** A line chart without numbers. @param max the top of the chart; default: 1.25 times the highest value */
export function Sparkline({ values, max }: { values: readonly number[]; max?: number }): ReactNode {
  if (values.length < 2) return <div className="sparkline" />;
  const top = Math.max(max ?? Math.max(...values) * 1.25, 1e-9);
  const step = WIDTH / (values.length - 1);
  const points = values.map(
    (value, index) => `${(index * step).toFixed(1)},${(HEIGHT - 1 - (value / top) * (HEIGHT - 2)).toFixed(1)}`,
  );
  return (
    <svg className="sparkline" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      <polygon points={`0,${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}`} />
      <polyline points={points.join(" ")} />
    </svg>
  );
}
