import type { ReactNode } from "react";
import type { DesiredState } from "../../../../contract/desired.ts";
import type { Presence } from "../../../../contract/events.ts";
import { type TextKey, t } from "../../text/i18n.ts";
import { When } from "../../ui/when.tsx";
import { personOf } from "./use-camera-control.ts";

type Part = NonNullable<DesiredState[keyof DesiredState]>;

interface DesiredStatusProps {
  /** Undefined: nobody has set anything. */
  part: Part | undefined;
  presence: Presence["status"] | undefined;
  zone: string | undefined;
  /** Shown while the camera has other values. */
  children: ReactNode;
}

const TONES: Record<Part["status"], string> = { applied: "good", pending: "rest", differs: "warn", failed: "bad" };

/** How what is desired compares with what the camera reports. */
export function DesiredStatus({ part, presence, zone, children }: DesiredStatusProps): ReactNode {
  if (part === undefined)
    return (
      <section className="panel desired" data-tone="quiet" data-testid="desired">
        <p className="desired-title">
          <span className="dot" aria-hidden="true" />
          <strong>{t("manage.desiredNone")}</strong>
        </p>
      </section>
    );
  const { status, version, by, at, differs_since, error } = part;
  return (
    <section className="panel desired" data-tone={TONES[status]} data-status={status} data-testid="desired">
      <p className="desired-title" role="status">
        <span className="dot" aria-hidden="true" />
        <strong>{t(titleOf(status, presence))}</strong>
      </p>
      <p className="desired-facts">
        <span>{t("manage.desiredBy", { version, by: personOf(by) })}</span>
        <When at={at} cameraZone={zone} form="age" />
      </p>
      {error !== undefined && <p className="form-problem">{t("manage.desiredError", { error })}</p>}
      {differs_since !== undefined && (
        <>
          <p className="desired-facts">
            <span>{t("manage.differsSince")}</span>
            <When at={differs_since} cameraZone={zone} form="age" />
          </p>
          {children}
        </>
      )}
    </section>
  );
}

function titleOf(status: Part["status"], presence: Presence["status"] | undefined): TextKey {
  if (status !== "pending") return `manage.desired_${status}`;
  if (presence === "sleeping") return "manage.desiredSleeping";
  return presence === "online" || presence === "stale" ? "manage.desired_pending" : "manage.desiredOffline";
}
