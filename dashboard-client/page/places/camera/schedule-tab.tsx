import { useMutation } from "@tanstack/react-query";
import { type ReactNode, useId, useMemo, useState } from "react";
import { useServices } from "../../services.tsx";
import { formatDuration } from "../../text/format.ts";
import { t } from "../../text/i18n.ts";
import type { CameraTabProps } from "./camera-tab-props.ts";
import { DesiredStatus } from "./desired-status.tsx";
import { SaveRow } from "./save-row.tsx";
import { draftOf, type Entry, isValid, MAX_ENTRIES, NEW_ENTRY, textOfEntries } from "./schedule/draft.ts";
import { EntryEditor } from "./schedule/entry-editor.tsx";
import { Forecast } from "./schedule/forecast.tsx";
import { usePictureBytes } from "./schedule/use-picture-bytes.ts";
import { useCameraControl, whyNot } from "./use-camera-control.ts";

const NO_ENTRIES: readonly Entry[] = [];

/** When a camera takes pictures: `#/cameras/north/schedule`. */
export default function ScheduleTab({ camera }: CameraTabProps): ReactNode {
  const { api } = useServices();
  const control = useCameraControl(camera);
  const { schedule, desired, about, lastCapture, presence, freeBytes } = control;
  const pictureBytes = usePictureBytes(camera, lastCapture?.value.size_bytes);
  const applied = schedule?.value.entries;
  const base = desired?.schedule?.value.entries ?? applied ?? NO_ENTRIES;
  const { drafts, setDrafts, isChanged, isOutdated, reset } = useDraft(base);
  const entries = useMemo(() => drafts.map(({ entry }) => entry), [drafts]);
  const valid = useMemo(() => entries.filter(isValid), [entries]);
  const save = useMutation({
    mutationFn: () =>
      api.request(`cameras/${encodeURIComponent(camera)}/schedule`, { method: "PUT", body: { entries } }),
  });
  const whyId = useId();
  const forbidden = whyNot(control, "schedule.set");
  const why =
    forbidden ??
    (valid.length < entries.length ? t("manage.whyWrong") : isChanged ? undefined : t("manage.whyUnchanged"));
  const location = about?.value.location;
  const add = (kind: Entry["kind"]): void => setDrafts([...drafts, draftOf(NEW_ENTRY[kind])]);
  return (
    <div className="control-tab">
      <DesiredStatus part={desired?.schedule} presence={presence?.value.status} zone={location?.timezone}>
        {applied !== undefined && (
          <>
            <p>{t("schedule.appliedNow")}</p>
            <AppliedEntries entries={applied} />
            <button
              type="button"
              className="button"
              disabled={forbidden !== undefined}
              onClick={() => setDrafts(applied.map(draftOf))}
            >
              {t("schedule.takeApplied")}
            </button>
          </>
        )}
      </DesiredStatus>
      {isOutdated && (
        <p className="panel notice" role="status">
          <span>{t("manage.changedMeanwhile")}</span>
          <button type="button" className="button" onClick={reset}>
            {t("manage.showNew")}
          </button>
        </p>
      )}
      <div className="schedule-columns">
        <form
          className="form"
          onSubmit={(event) => {
            event.preventDefault();
            save.mutate();
          }}
        >
          <fieldset className="form bare" disabled={forbidden !== undefined}>
            {drafts.map((draft, index) => (
              <EntryEditor
                key={draft.key}
                number={index + 1}
                entry={draft.entry}
                onChange={(entry) => setDrafts(drafts.map((each) => (each === draft ? { ...each, entry } : each)))}
                onRemove={() => setDrafts(drafts.filter((each) => each !== draft))}
              />
            ))}
            {drafts.length === 0 && <p className="panel notice">{t("schedule.empty")}</p>}
            <div className="button-row">
              <button
                type="button"
                className="button"
                disabled={drafts.length >= MAX_ENTRIES}
                onClick={() => add("solar")}
              >
                {t("schedule.addSun")}
              </button>
              <button
                type="button"
                className="button"
                disabled={drafts.length >= MAX_ENTRIES}
                onClick={() => add("clock")}
              >
                {t("schedule.addClock")}
              </button>
            </div>
          </fieldset>
          <SaveRow
            action={t("schedule.save")}
            save={save}
            why={why}
            whyId={whyId}
            onDiscard={isChanged ? reset : undefined}
          />
        </form>
        {location === undefined ? (
          <p className="panel notice">{t("schedule.noLocation")}</p>
        ) : (
          <Forecast
            camera={camera}
            entries={valid}
            location={location}
            pictureBytes={pictureBytes}
            freeBytes={freeBytes}
          />
        )}
      </div>
    </div>
  );
}

/** The draft of a schedule. It follows the base until somebody changes something. */
function useDraft(base: readonly Entry[]) {
  const baseText = textOfEntries(base);
  const [draft, setDraft] = useState(() => ({ base: baseText, drafts: base.map(draftOf) }));
  const text = textOfEntries(draft.drafts.map(({ entry }) => entry));
  if (draft.base !== baseText && (text === draft.base || text === baseText))
    setDraft({ base: baseText, drafts: text === baseText ? draft.drafts : base.map(draftOf) });
  return {
    drafts: draft.drafts,
    setDrafts: (drafts: typeof draft.drafts) => setDraft({ ...draft, drafts }),
    isChanged: text !== baseText,
    isOutdated: draft.base !== baseText && text !== draft.base && text !== baseText,
    reset: () => setDraft({ base: baseText, drafts: base.map(draftOf) }),
  };
}

function AppliedEntries({ entries }: { entries: readonly Entry[] }): ReactNode {
  if (entries.length === 0) return <p>{t("schedule.appliedNothing")}</p>;
  return (
    <ul className="plain-rows" data-testid="applied-entries">
      {entries.map((entry) => (
        <li key={textOfEntries([entry])}>{entryText(entry)}</li>
      ))}
    </ul>
  );
}

function entryText(entry: Entry): string {
  const interval = formatDuration(entry.interval_s * 1000);
  if (entry.kind === "clock") return t("schedule.textClock", { start: entry.start, end: entry.end, interval });
  const { anchor, offset_min: offset, duration_min: duration } = entry;
  return t("schedule.textSun", { anchor: t(`schedule.anchor_${anchor}`), offset, duration, interval });
}
