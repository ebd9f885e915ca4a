import type { ReactNode } from "react";
import { Link } from "wouter";
import { Icon } from "../../components/icon.tsx";
import { formatBytes, formatNumber } from "../../text/format.ts";
import { t } from "../../text/i18n.ts";
import { When } from "../../ui/when.tsx";
import { usedPart } from "./fleet-summary.ts";
import type { FleetCamera } from "./use-fleet-camera.ts";

/** Below this, and above this, a value is shown in the colour of a warning. */
const LOW_BATTERY_PERCENT = 20;
const FULL_STORAGE_PART = 0.9;

/** When the last picture was taken. */
export function PictureAge({ camera }: { camera: FleetCamera }): ReactNode {
  const { id, about, preview, pictureTaken } = camera;
  const at = pictureTaken?.at ?? preview?.at;
  return (
    <span className="fleet-fact" data-testid={`picture-time-${id}`}>
      <Icon name="picture" />
      {at === undefined ? (
        <span>{t("fleet.noPicture")}</span>
      ) : (
        <When at={at} cameraZone={about?.value.location.timezone} form="age" />
      )}
    </span>
  );
}

export function Battery({ camera: { power } }: { camera: FleetCamera }): ReactNode {
  const percent = power?.value.battery_percent;
  if (percent === undefined) return null;
  return (
    <span className="fleet-fact" data-low={percent < LOW_BATTERY_PERCENT} title={t("fleet.battery")}>
      <Icon name="power" />
      <span>{t("fleet.percent", { percent: formatNumber(percent) })}</span>
    </span>
  );
}

export function Storage({ camera: { storage } }: { camera: FleetCamera }): ReactNode {
  if (storage === undefined) return null;
  const used = usedPart(storage.value);
  const percent = formatNumber(used * 100);
  const title = t("fleet.storageTitle", {
    percent: formatNumber(used * 100),
    free: formatBytes(storage.value.free_bytes),
  });
  return (
    <span className="fleet-fact" data-low={used > FULL_STORAGE_PART} title={title}>
      <Icon name="disk" />
      <span>{t("fleet.percent", { percent })}</span>
    </span>
  );
}

/** The worst alert, otherwise the tags. */
export function AlertOrTags({ camera: { alert, tags } }: { camera: FleetCamera }): ReactNode {
  if (alert === undefined)
    return (
      <p className="fleet-note">
        {tags.map((tag) => (
          <span key={tag} className="fleet-tag">
            {tag}
          </span>
        ))}
      </p>
    );
  const { worst, count } = alert;
  return (
    <p className="fleet-note fleet-alert" data-tone={worst.severity === "info" ? "quiet" : "bad"} title={worst.message}>
      <Icon name="alert" />
      <span className="fleet-alert-text">{worst.message}</span>
      {count > 1 && <span>{t("fleet.moreAlerts", { count: count - 1 })}</span>}
    </p>
  );
}

/** The link of the card. It covers the whole card, below the other controls. */
export function OpenCamera({ id, name }: { id: string; name: string }): ReactNode {
  return (
    <h2 className="fleet-name">
      <Link className="fleet-open" href={`/cameras/${id}`} aria-label={t("fleet.enlarge", { name })} title={name}>
        {name}
      </Link>
    </h2>
  );
}
