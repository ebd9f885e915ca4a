import type { ReactNode } from "react";
import type { CameraState } from "../../../../state/camera-state.ts";
import { Icon, type IconName } from "../../../components/icon.tsx";
import { zoneFor } from "../../../preferences.ts";
import {
  formatAge,
  formatAzimuth,
  formatBytes,
  formatDuration,
  formatExposure,
  formatMinute,
  formatNumber,
} from "../../../text/format.ts";
import { t, textOf } from "../../../text/i18n.ts";
import { useNow } from "../../../use-now.ts";
import { lightOf, SunPath } from "./sun-path.tsx";

export function CameraFacts({ camera, live }: { camera: CameraState; live: boolean }): ReactNode {
  const { environment, storage, power, progress, settings, lastCapture } = camera;
  const shot = lastCapture?.value.settings ?? settings?.value;
  const exposure = [
    shot?.iso && `ISO ${shot.iso}`,
    shot?.white_balance && textOf("camera.whiteBalance", shot.white_balance),
    shot?.hdr && "HDR",
  ];
  if (!environment && !storage && !power && !progress && !shot) return null;
  return (
    <dl className="facts">
      <Light camera={camera} />
      <Weather camera={camera} />
      <Capturing camera={camera} live={live} />
      {shot !== undefined && (
        <Fact icon="sliders" label={t("camera.fact.exposure")} at={lastCapture?.value.settings && lastCapture.at}>
          <b>{shot.exposure_s === undefined ? t("camera.fact.auto") : formatExposure(shot.exposure_s)}</b>
          <span>{exposure.filter(Boolean).join(" · ")}</span>
        </Fact>
      )}
      <StorageAndPower camera={camera} />
    </dl>
  );
}

function Light({ camera: { environment, about } }: { camera: CameraState }): ReactNode {
  const now = useNow();
  if (environment === undefined) return null;
  const { sun_elevation, sun_azimuth, next_golden_hour } = environment.value;
  const untilGolden = next_golden_hour === undefined ? undefined : Date.parse(next_golden_hour) - now;
  return (
    <Fact icon="sun" label={t("camera.fact.light")} at={environment.at}>
      <b>{t(`camera.light.${lightOf(sun_elevation)}`)}</b>
      <span>
        {t("camera.fact.sun", { height: formatNumber(sun_elevation, 1), direction: formatAzimuth(sun_azimuth) })}
      </span>
      <SunPath elevation={sun_elevation} azimuth={sun_azimuth} />
      {untilGolden !== undefined && untilGolden > 0 && (
        <span>
          {t("camera.fact.nextGolden", {
            time: formatMinute(next_golden_hour ?? "", zoneFor(about?.value.location.timezone), now),
            duration: formatDuration(untilGolden),
          })}
        </span>
      )}
    </Fact>
  );
}

function Weather({ camera: { environment } }: { camera: CameraState }): ReactNode {
  if (environment === undefined) return null;
  const { temperature_c, humidity_percent, cloud_percent, wind_ms } = environment.value;
  const more = [
    cloud_percent !== undefined && t("camera.fact.cloud", { percent: Math.round(cloud_percent) }),
    wind_ms !== undefined && t("camera.fact.wind", { speed: formatNumber(wind_ms, 1) }),
    humidity_percent !== undefined && t("camera.fact.humidity", { percent: Math.round(humidity_percent) }),
  ].filter((part) => part !== false);
  if (temperature_c === undefined && more.length === 0) return null;
  return (
    <Fact icon="wind" label={t("camera.fact.weather")} at={environment.at}>
      {temperature_c !== undefined && <b>{`${formatNumber(temperature_c, 1)} °C`}</b>}
      {more.map((part) => (
        <span key={part}>{part}</span>
      ))}
    </Fact>
  );
}

function Capturing({ camera: { progress, about }, live }: { camera: CameraState; live: boolean }): ReactNode {
  const now = useNow();
  if (progress === undefined) return null;
  const { active, next_capture_at, captures_completed, captures_total } = progress.value;
  const untilNext = next_capture_at === undefined ? undefined : Date.parse(next_capture_at) - now;
  const [count, number] = [captures_total ?? captures_completed, formatNumber(captures_completed)];
  return (
    <Fact icon="clock" label={t("camera.fact.schedule")} at={progress.at}>
      <b>{t(active ? "camera.fact.capturing" : "camera.fact.paused")}</b>
      {live && untilNext !== undefined && untilNext > 0 && (
        <span>{t("camera.fact.nextPicture", { duration: formatDuration(untilNext) })}</span>
      )}
      <span>
        {captures_total === undefined
          ? t("camera.fact.pictures", { count, number })
          : t("camera.fact.picturesOf", { count, number, total: formatNumber(captures_total) })}
      </span>
      {about !== undefined && (
        <span>{t("camera.fact.every", { duration: formatDuration(about.value.capture_interval_s * 1000) })}</span>
      )}
    </Fact>
  );
}

function StorageAndPower({ camera: { storage, power } }: { camera: CameraState }): ReactNode {
  if (storage === undefined && power === undefined) return null;
  const used = storage === undefined ? 0 : 1 - storage.value.free_bytes / storage.value.total_bytes;
  return (
    <Fact icon={storage === undefined ? "power" : "disk"} label={t("camera.fact.storage")} at={(storage ?? power)?.at}>
      {storage !== undefined && (
        <>
          <b>{t("camera.fact.free", { size: formatBytes(storage.value.free_bytes) })}</b>
          <span>{t("camera.fact.of", { size: formatBytes(storage.value.total_bytes) })}</span>
          <meter className="bar" min={0} max={1} high={0.8} value={used} aria-label={t("camera.fact.used")} />
        </>
      )}
      {power !== undefined && (
        <span>
          {[
            t(`camera.power.${power.value.source}`),
            ...(power.value.battery_percent === undefined ? [] : [`${Math.round(power.value.battery_percent)} %`]),
          ].join(" · ")}
        </span>
      )}
    </Fact>
  );
}

interface FactProps {
  icon: IconName;
  label: string;
  /** When the value was measured, RFC 3339. Undefined for settings. */
  at: string | undefined;
  children: ReactNode;
}

/**
 * Older measurements are shown with their age. A camera sends an unchanged value again after 30 minutes (the default of
 * READINGS_MAX_AGE_S), at most one minute late.
 */
const OLD_MS = 35 * 60_000;

function Fact({ icon, label, at, children }: FactProps): ReactNode {
  const now = useNow();
  const old = at !== undefined && now - Date.parse(at) > OLD_MS;
  return (
    <div className="fact">
      <dt>
        <Icon name={icon} />
        <span>{label}</span>
      </dt>
      <dd>
        {children}
        {old && <span className="fact-age">{t("camera.fact.measured", { age: formatAge(at, now) })}</span>}
      </dd>
    </div>
  );
}
