import type { ReactNode } from "react";
import { Icon, type IconName } from "../../components/icon.tsx";
import { cameraStatus } from "../../text/camera-status.ts";
import { gapTitle } from "../../text/gap-text.ts";
import { t } from "../../text/i18n.ts";
import { useNow } from "../../use-now.ts";
import type { FleetState } from "./fleet-summary.ts";
import type { FleetCamera } from "./use-fleet-camera.ts";

export const STATE_ICONS: Readonly<Record<FleetState | "catching_up", IconName>> = {
  ...{ online: "link", gap: "gap", stale: "clock", sleeping: "moon", overslept: "moon", offline: "unlink" },
  ...{ unknown: "question", never_seen: "camera", catching_up: "refresh" },
};

/** Each state has an icon, a text and, by `data-state` of the card, an outline of its own. */
export function shownState({
  state,
  catchingUp,
}: Pick<FleetCamera, "state" | "catchingUp">): FleetState | "catching_up" {
  return catchingUp ? "catching_up" : state;
}

/** The state in words, with its duration. Rendered each second, unlike the card. */
export function StatePill({ camera }: { camera: FleetCamera }): ReactNode {
  const now = useNow();
  const status = cameraStatus(camera, camera.live || camera.catchingUp, now);
  return (
    <div
      className="pill status"
      data-testid={`camera-status-${camera.id}`}
      data-tone={camera.catchingUp ? "quiet" : status.tone}
      data-status={camera.presence?.value.status ?? "unknown"}
      title={camera.catchingUp ? undefined : `${status.label} ${status.detail}`}
    >
      <Icon name={STATE_ICONS[camera.state === "gap" && !camera.catchingUp ? "online" : shownState(camera)]} />
      <span>{camera.catchingUp ? t("shell.catchingUp") : status.label}</span>
      {!camera.catchingUp && status.detail !== "" && <span className="status-detail">{status.detail}</span>}
    </div>
  );
}

/** Says that events of the camera are missing. */
export function GapPill({ missing }: { missing: number }): ReactNode {
  if (missing === 0) return null;
  return (
    <div className="pill status" data-tone="warn" title={gapTitle({ count: missing })}>
      <Icon name="gap" />
      <span>{t("gap.missing", { count: missing })}</span>
    </div>
  );
}
