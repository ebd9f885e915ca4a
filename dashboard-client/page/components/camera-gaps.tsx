import type { ReactNode } from "react";
import type { LinkGap } from "../../../contract/events.ts";
import type { CameraState } from "../../state/camera-state.ts";
import { gapReason, gapSpan, gapTitle } from "../text/gap-text.ts";
import { t } from "../text/i18n.ts";
import { useNow } from "../use-now.ts";
import { Icon } from "./icon.tsx";
import { useFirst } from "./row.tsx";

/** The age up to which gaps and pictures are shown, milliseconds. */
const SHOWN_MS = 48 * 3_600_000;
const SHOWN_AT_FIRST = 2;

export function recentGaps({ gaps }: Pick<CameraState, "gaps">, now: number): readonly LinkGap[] {
  return (gaps?.value.gaps ?? [])
    .filter(({ to }) => now - Date.parse(to) < SHOWN_MS)
    .sort((one, other) => Date.parse(other.to) - Date.parse(one.to));
}

export function CameraGaps({ camera }: { camera: CameraState }): ReactNode {
  const now = useNow();
  const gaps = recentGaps(camera, now);
  const [shown, more] = useFirst(gaps, SHOWN_AT_FIRST);
  if (gaps.length === 0) return null;
  const zone = camera.about?.value.location.timezone;
  return (
    <section className="gaps" aria-label={t("gap.label")} data-testid={`gaps-${camera.id}`}>
      <ul>
        {shown.map((gap) => (
          <li key={`${gap.from} ${gap.to} ${gap.first_seq ?? ""}`} className="gap" title={gapReason(gap)}>
            <Icon name="gap" />
            <span>
              <b>{gapTitle(gap)}</b>
              <span>{`, ${gapSpan(gap, zone, now)}`}</span>
            </span>
          </li>
        ))}
      </ul>
      {more}
    </section>
  );
}
