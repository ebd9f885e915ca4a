import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { type ReactNode, useCallback } from "react";
import { useSearchParams } from "wouter";
import type { RealTimeData } from "../../../../state/dashboard-store.ts";
import { useFirst } from "../../../components/row.tsx";
import { zoneFor } from "../../../preferences.ts";
import { useServices } from "../../../services.tsx";
import { formatDuration, formatExposure, formatNumber, formatSpan } from "../../../text/format.ts";
import { t, textOf } from "../../../text/i18n.ts";
import { Choice } from "../../../ui/choice.tsx";
import { useDashboard } from "../../../use-dashboard.ts";
import { useNow } from "../../../use-now.ts";
import { ArchiveProblem, retryArchive } from "../archive-problem.tsx";
import type { CameraTabProps } from "../camera-tab-props.ts";
import { Chart } from "./chart.tsx";
import { type CameraSeries, type Gap, requestSeries } from "./series.ts";

const DAY_MS = 86_400_000;
const RANGES = { day: DAY_MS, week: 7 * DAY_MS, month: 30 * DAY_MS, year: 365 * DAY_MS } as const;
type RangeName = keyof typeof RANGES;
const RANGE_NAMES = Object.keys(RANGES) as RangeName[];
/** A chart of a phone shows no more. */
const POINTS = 240;
const MAX_GAPS_SHOWN = 4;

/** Seconds, minutes and hours that people count in. */
const TIME_STEPS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14_400, 43_200, 86_400, 604_800];

const percent = (value: number): string => `${formatNumber(value, value % 1 === 0 ? 0 : 1)} %`;
const FIELDS: ReadonlyArray<{
  name: "temperature" | "humidity" | "battery" | "solar" | "storage" | "exposure" | "capture_interval" | "link_quality";
  format: (value: number) => string;
  isLogarithmic?: boolean;
  limits?: readonly [number, number];
  steps?: readonly number[];
}> = [
  { name: "temperature", format: (value) => `${formatNumber(value, 1)} °C` },
  { name: "battery", format: percent, limits: [0, 100] },
  { name: "solar", format: percent, limits: [0, 100] },
  { name: "storage", format: percent, limits: [0, 100] },
  { name: "exposure", format: formatExposure, isLogarithmic: true },
  { name: "capture_interval", format: (value) => formatDuration(value * 1000), steps: TIME_STEPS },
  { name: "link_quality", format: percent, limits: [0, 100] },
  { name: "humidity", format: percent, limits: [0, 100] },
];

/** Measurements of a camera over time, from the archive. */
export default function ChartsTab({ camera }: CameraTabProps): ReactNode {
  const { api } = useServices();
  const [search, setSearch] = useSearchParams();
  const range = RANGE_NAMES.find((name) => name === search.get("range")) ?? "day";
  const zone = zoneFor(
    useDashboard(
      useCallback(({ cameras }: RealTimeData) => cameras.get(camera)?.about?.value.location.timezone, [camera]),
    ),
  );
  // The range ends at the end of a bucket, so that it is loaded once for each bucket.
  const step = RANGES[range] / POINTS;
  const to = Math.ceil(useNow() / step) * step;
  const { data, error, isPlaceholderData, refetch } = useQuery({
    queryKey: ["series", camera, range, to],
    queryFn: ({ signal }) => requestSeries(api, { camera, from: to - RANGES[range], to, points: POINTS }, signal),
    staleTime: Number.POSITIVE_INFINITY,
    retry: retryArchive,
    placeholderData: keepPreviousData,
  });
  return (
    <div className="charts" aria-busy={data === undefined || isPlaceholderData}>
      <div className="charts-head">
        <Choice
          label={t("charts.range")}
          value={range}
          options={RANGE_NAMES.map((name) => [name, t(`charts.ranges.${name}`)] as const)}
          onChange={(name) => setSearch({ range: name }, { replace: true })}
        />
      </div>
      {error !== null && <ArchiveProblem error={error} onRetry={() => void refetch()} />}
      {data === undefined ? (
        error === null && <p className="place-loading">{t("common.loading")}</p>
      ) : (
        <ChartList series={data} zone={zone} />
      )}
    </div>
  );
}

function ChartList({ series, zone }: { series: CameraSeries; zone: string | undefined }): ReactNode {
  const { from, to, gaps, fields } = series;
  const measured = FIELDS.filter(({ name }) => (fields.get(name)?.at.length ?? 0) > 0);
  const missing = FIELDS.filter((field) => !measured.includes(field));
  return (
    <>
      {measured.length === 0 && <p className="panel-empty">{t("charts.none")}</p>}
      <div className="chart-list">
        {measured.map(({ name, format, isLogarithmic = false, limits, steps }) => {
          const columns = fields.get(name);
          return (
            columns && (
              <Chart
                key={name}
                title={t(`charts.field.${name}`)}
                {...{ columns, gaps, from, to, zone, format, isLogarithmic, limits, steps }}
              />
            )
          );
        })}
      </div>
      {measured.length > 0 && missing.length > 0 && (
        <p className="charts-note">
          {t("charts.missing", { fields: missing.map(({ name }) => t(`charts.field.${name}`)).join(", ") })}
        </p>
      )}
      <Gaps gaps={gaps} zone={zone} to={to} />
    </>
  );
}

function Gaps({ gaps, zone, to }: { gaps: readonly Gap[]; zone: string | undefined; to: number }): ReactNode {
  const [shown, more] = useFirst(gaps, MAX_GAPS_SHOWN);
  if (gaps.length === 0) return null;
  const time = (seconds: number): string => new Date(seconds * 1000).toISOString();
  return (
    <section className="charts-gaps" aria-label={t("charts.gaps")} data-testid="chart-gaps">
      <ul>
        {shown.map((gap) => (
          <li key={`${gap.reason} ${gap.from}`}>
            <b>{formatSpan(time(gap.from), time(gap.to), zone, to * 1000)}</b>
            <span>{textOf("charts.gap", gap.reason) ?? gap.reason}</span>
          </li>
        ))}
      </ul>
      {more}
    </section>
  );
}
