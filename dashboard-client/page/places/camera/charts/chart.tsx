import { type ReactNode, useEffect, useRef, useState } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { formatMinute } from "../../../text/format.ts";
import { currentLocale, t } from "../../../text/i18n.ts";
import { type Columns, type Gap, withBreaks } from "./series.ts";

interface ChartProps {
  title: string;
  columns: Columns;
  gaps: readonly Gap[];
  /** Seconds since 1970. */
  from: number;
  to: number;
  /** An IANA name. Undefined: the zone of the browser. */
  zone: string | undefined;
  /** The exposure covers a hundred thousandfold. */
  isLogarithmic: boolean;
  /** The range of the axis for percentages. */
  limits: readonly [number, number] | undefined;
  /** The steps of the axis. Default: 1, 2 and 5 with their multiples of ten. */
  steps: readonly number[] | undefined;
  format: (value: number) => string;
}

const HEIGHT = 150;
const DAY_S = 86_400;
/** The cursor of one chart moves those of all. */
const SYNC = "camera";

export function Chart(props: ChartProps): ReactNode {
  const { title, columns, from, to, zone, format } = props;
  const box = useRef<HTMLDivElement>(null);
  const [pointed, setPointed] = useState<number>();
  const theme = document.documentElement.dataset.theme;
  const latest = useRef(props);
  latest.current = props;

  // biome-ignore lint/correctness/useExhaustiveDependencies: a new theme has new colours
  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const width = element.clientWidth;
    const data = withBreaks(columns, latest.current.gaps) as uPlot.AlignedData;
    const chart = new uPlot(optionsOf(latest.current, element, width, setPointed), data, element);
    const observer = new ResizeObserver(([entry]) => {
      const next = Math.floor(entry?.contentRect.width ?? 0);
      if (next > 0 && next !== chart.width) chart.setSize({ width: next, height: HEIGHT });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      chart.destroy();
    };
  }, [columns, from, to, zone, theme]);

  const low = Math.min(...columns.min);
  const high = Math.max(...columns.max);
  const last = columns.mean.at(-1) ?? 0;
  const index = pointed === undefined ? undefined : nearest(columns.at, pointed);
  const summary = t("charts.summary", { last: format(last), low: format(low), high: format(high) });
  return (
    <section className="chart" data-testid="chart">
      <div className="chart-head">
        <h2>{title}</h2>
        <p className="chart-value">
          {index === undefined
            ? summary
            : valueText(columns, index, format, formatMinute((columns.at[index] ?? 0) * 1000, zone, to * 1000))}
        </p>
      </div>
      <div ref={box} className="chart-plot" role="img" aria-label={`${title}: ${summary}`} />
    </section>
  );
}

function valueText(
  { min, mean, max }: Columns,
  index: number,
  format: (value: number) => string,
  time: string,
): string {
  const [low = 0, middle = 0, high = 0] = [min[index], mean[index], max[index]];
  const value = format(middle);
  return low === high
    ? t("charts.at", { time, value })
    : t("charts.atSpread", { time, value, low: format(low), high: format(high) });
}

function nearest(at: readonly number[], time: number): number | undefined {
  let best: number | undefined;
  for (const [index, each] of at.entries())
    if (best === undefined || Math.abs(each - time) < Math.abs((at[best] ?? 0) - time)) best = index;
  return best;
}

function optionsOf(
  { gaps, from, to, zone, isLogarithmic, limits, steps, format }: ChartProps,
  element: Element,
  width: number,
  point: (time: number | undefined) => void,
): uPlot.Options {
  const colour = (name: string): string => getComputedStyle(element).getPropertyValue(`--${name}`).trim();
  const [text, line, accent, warn] = [colour("text-soft"), colour("line"), colour("accent"), colour("warn")];
  const grid = { stroke: line, width: 1 };
  const font = `12px ${getComputedStyle(element).fontFamily}`;
  const axis = { stroke: text, font, grid, ticks: { show: false } };
  const edge = { stroke: "transparent", points: { show: false } };
  return {
    ...{ width, height: HEIGHT, legend: { show: false }, padding: [8, 12, 0, 0] },
    cursor: {
      ...{ sync: { key: SYNC }, drag: { x: false, y: false }, y: false },
      points: { size: 7, fill: accent, stroke: "transparent" },
    },
    scales: {
      x: { time: true, range: [from, to] },
      y: {
        ...(isLogarithmic && { distr: 3 as const }),
        ...(limits !== undefined && { range: [...limits] as [number, number] }),
      },
    },
    axes: [
      {
        ...axis,
        space: 70,
        size: 30,
        values: (_chart, splits, _axis, _space, step) => splits.map(timeLabel(step, zone)),
      },
      {
        ...{
          ...axis,
          size: 72,
          values: (_chart, splits) => splits.map((value) => (value === null ? "" : format(value))),
        },
        ...(isLogarithmic && {
          grid: { ...grid, filter: (_chart: uPlot, splits: number[]) => splits.map(powerOfTen) },
        }),
        ...(steps !== undefined && { incrs: [...steps] }),
      },
    ],
    series: [{}, edge, { stroke: accent, width: 1.6, points: { size: 4, fill: accent, stroke: accent } }, edge],
    bands: [{ series: [3, 1], fill: `color-mix(in srgb, ${accent} 24%, transparent)` }],
    hooks: {
      drawClear: [(chart) => drawGaps(chart, gaps, warn)],
      setCursor: [({ cursor: { left = -1 }, posToVal }) => point(left < 0 ? undefined : posToVal(left, "x"))],
    },
    ...(zone !== undefined && { tzDate: (time: number) => uPlot.tzDate(new Date(time * 1000), zone) }),
  };
}

/** A logarithmic axis has a line for each power of ten only. */
function powerOfTen(value: number): number | null {
  return Number.isInteger(Math.round(Math.log10(value) * 1e6) / 1e6) ? value : null;
}

function timeLabel(stepSeconds: number, zone: string | undefined): (seconds: number) => string {
  const shape: Intl.DateTimeFormatOptions =
    stepSeconds >= DAY_S ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit" };
  const format = new Intl.DateTimeFormat(currentLocale(), { ...shape, ...(zone !== undefined && { timeZone: zone }) });
  return (seconds) => format.format(seconds * 1000);
}

/** Fills the times of gaps, behind the lines. */
function drawGaps({ ctx, bbox, valToPos }: uPlot, gaps: readonly Gap[], colour: string): void {
  ctx.save();
  ctx.fillStyle = `color-mix(in srgb, ${colour} 20%, transparent)`;
  for (const { from, to } of gaps) {
    const [left, right] = [valToPos(from, "x", true), valToPos(to, "x", true)];
    ctx.fillRect(left, bbox.top, Math.max(2, right - left), bbox.height);
  }
  ctx.restore();
}
