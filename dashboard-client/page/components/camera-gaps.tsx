import { type ReactNode, useState } from "react";
import type { LinkGap } from "../../../contract/events.ts";
import type { CameraState } from "../../state/camera-state.ts";
import { gapReason, gapSpan, gapTitle } from "../text/gap-text.ts";
import { useNow } from "../use-now.ts";
import { Icon } from "./icon.tsx";

/** The age up to which gaps are shown, milliseconds. Pictures are shown up to the same age. */
const SHOWN_MS = 48 * 3_600_000;
const SHOWN_AT_FIRST = 2;

/** The gaps of a camera that are recent enough to be shown, newest first. */
export function recentGaps({ gaps }: CameraState, now: number): readonly LinkGap[] {
  return (gaps?.value.gaps ?? [])
    .filter(({ to }) => now - Date.parse(to) < SHOWN_MS)
    .sort((one, other) => Date.parse(other.to) - Date.parse(one.to));
}

/** The events of a camera that never arrived, one line for each gap. Renders nothing if there is no gap. */
export function CameraGaps({ camera }: { camera: CameraState }): ReactNode {
  const now = useNow();
  const [all, setAll] = useState(false);
  const gaps = recentGaps(camera, now);
  if (gaps.length === 0) return null;
  const zone = camera.about?.value.location.timezone;
  const shown = all ? gaps : gaps.slice(0, SHOWN_AT_FIRST);
  return (
    <section className="gaps" aria-label="Missing events" data-testid={`gaps-${camera.id}`}>
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
      {gaps.length > SHOWN_AT_FIRST && (
        <button type="button" className="text-button" aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? "Show fewer" : `${gaps.length - SHOWN_AT_FIRST} more`}
        </button>
      )}
    </section>
  );
}
