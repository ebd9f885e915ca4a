import type { ReactNode } from "react";
import { zoneFor } from "../preferences.ts";
import { formatAge, formatMinute, formatTime } from "../text/format.ts";
import { t } from "../text/i18n.ts";
import { useNow } from "../use-now.ts";

interface WhenProps {
  /** RFC 3339, or milliseconds since 1970. */
  at: string | number;
  /** The time zone of the camera, an IANA name. The tooltip has the time in this zone. */
  cameraZone?: string | undefined;
  /** `age`: "3 min ago", with the time in the tooltip. Default `time`: with seconds. */
  form?: "time" | "minute" | "age";
}

/** A time by the clock that the user chose for all lists. */
export function When({ at, cameraZone, form = "time" }: WhenProps): ReactNode {
  const now = useNow();
  const zone = zoneFor(cameraZone);
  const atCamera = cameraZone === undefined ? undefined : formatTime(at, cameraZone, now);
  const tooltip = [
    form === "age" && formatTime(at, zone, now),
    atCamera !== undefined && cameraZone !== zone && t("time.atCamera", { time: atCamera }),
  ];
  const date = new Date(at);
  return (
    <time
      dateTime={Number.isNaN(date.getTime()) ? undefined : date.toISOString()}
      title={tooltip.filter(Boolean).join(" · ") || undefined}
    >
      {form === "age" ? formatAge(at, now) : (form === "time" ? formatTime : formatMinute)(at, zone, now)}
    </time>
  );
}
