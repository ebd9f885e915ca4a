import { type ReactNode, useMemo, useState } from "react";
import type { Location } from "../../../../../contract/schedule/sun.ts";
import { formatBytes, formatDuration, formatNumber, formatSpan } from "../../../text/format.ts";
import { currentLocale, t } from "../../../text/i18n.ts";
import { When } from "../../../ui/when.tsx";
import { useNow } from "../../../use-now.ts";
import type { Entry } from "./draft.ts";
import { type DayPlan, nextPictures, planDay } from "./plan.ts";
import { SunDay } from "./sun-day.tsx";

const DAY_MS = 86_400_000;
const SHOWN_PICTURES = 6;
/** The next pictures are planned again after this time. */
const REFRESH_MS = 5_000;

interface ForecastProps {
  camera: string;
  /** Valid entries. */
  entries: readonly Entry[];
  location: Location;
  /** The usual size of a picture; undefined before the first one. */
  pictureBytes: number | undefined;
  freeBytes: number | undefined;
}

/** What the camera would do: a day with its windows and the sun, the next pictures, and what they need. */
export function Forecast({ camera, entries, location, pictureBytes, freeBytes }: ForecastProps): ReactNode {
  const now = useNow();
  const [daysAhead, setDaysAhead] = useState(0);
  const at = Math.floor(now / REFRESH_MS) * REFRESH_MS;
  const plan = useMemo(
    () => orUndefined(() => planDay(entries, camera, location, new Date(at + daysAhead * DAY_MS))),
    [entries, camera, location, at, daysAhead],
  );
  const next = useMemo(
    () => orUndefined(() => nextPictures(entries, camera, location, { after: new Date(at), count: SHOWN_PICTURES })),
    [entries, camera, location, at],
  );
  const zone = location.timezone;
  if (plan === undefined || next === undefined)
    return <p className="form-problem">{t("schedule.zoneUnknown", { zone })}</p>;
  return (
    <section className="panel forecast" aria-label={t("schedule.forecast")}>
      <header className="forecast-head">
        <h2>
          <time dateTime={plan.day.start.toISOString()}>{dateOf(plan.day.start, zone)}</time>
        </h2>
        <div className="forecast-days">
          <button
            type="button"
            className="button"
            disabled={daysAhead === 0}
            onClick={() => setDaysAhead(daysAhead - 1)}
          >
            {t("schedule.dayBefore")}
          </button>
          <button type="button" className="button" onClick={() => setDaysAhead(daysAhead + 1)}>
            {t("schedule.dayAfter")}
          </button>
        </div>
      </header>
      <SunDay plan={plan} now={now} />
      <Need pictures={plan.pictures} pictureBytes={pictureBytes} freeBytes={freeBytes} />
      <div className="forecast-lists">
        <Windows plan={plan} zone={zone} now={now} />
        <div>
          <h3>{t("schedule.next")}</h3>
          {next.length === 0 ? (
            <p>{t("schedule.noNext")}</p>
          ) : (
            <ol className="plain-rows" data-testid="next-captures">
              {next.map((moment) => (
                <li key={moment.getTime()}>
                  <When at={moment.getTime()} cameraZone={zone} />
                </li>
              ))}
            </ol>
          )}
        </div>
      </div>
      <p className="field-note">{t("schedule.zone", { zone })}</p>
    </section>
  );
}

function Windows({ plan, zone, now }: { plan: DayPlan; zone: string; now: number }): ReactNode {
  return (
    <div>
      <h3>{t("schedule.windows")}</h3>
      {plan.windows.length === 0 ? (
        <p>{t("schedule.noWindows")}</p>
      ) : (
        <ol className="plain-rows" data-testid="day-windows">
          {plan.windows.map(({ start, end, intervalS }) => (
            <li key={`${start.getTime()} ${end.getTime()} ${intervalS}`}>
              <span>{formatSpan(start.toISOString(), end.toISOString(), zone, now)}</span>
              <span className="soft">{t("schedule.every", { interval: formatDuration(intervalS * 1000) })}</span>
            </li>
          ))}
        </ol>
      )}
    </div>
  );
}

interface NeedProps {
  pictures: number;
  pictureBytes: number | undefined;
  freeBytes: number | undefined;
}

/** Pictures and bytes of a day, and how long the free space lasts. */
function Need({ pictures, pictureBytes, freeBytes }: NeedProps): ReactNode {
  const bytes = pictureBytes === undefined ? undefined : pictures * pictureBytes;
  const days = bytes === undefined || freeBytes === undefined || bytes === 0 ? undefined : freeBytes / bytes;
  return (
    <dl className="need" data-testid="need">
      <div>
        <dt>{t("schedule.pictures")}</dt>
        <dd>{formatNumber(pictures)}</dd>
      </div>
      <div>
        <dt>{t("schedule.data")}</dt>
        <dd>{bytes === undefined ? t("common.unknown") : formatBytes(bytes)}</dd>
        <dd className="field-note">
          {pictureBytes === undefined
            ? t("schedule.noPicture")
            : t("schedule.perPicture", { size: formatBytes(pictureBytes) })}
        </dd>
      </div>
      {days !== undefined && (
        <div>
          <dt>{t("schedule.spaceLasts")}</dt>
          <dd>{formatDuration(days * DAY_MS)}</dd>
        </div>
      )}
    </dl>
  );
}

function dateOf(at: Date, zone: string): string {
  return new Intl.DateTimeFormat(currentLocale(), {
    timeZone: zone,
    weekday: "long",
    day: "numeric",
    month: "long",
  }).format(at);
}

/** Undefined when this browser does not know the camera's time zone. */
function orUndefined<Result>(plan: () => Result): Result | undefined {
  try {
    return plan();
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}
