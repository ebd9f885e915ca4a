import type { ReactNode } from "react";
import { type TextKey, t } from "../../../text/i18n.ts";
import { Choice } from "../../../ui/choice.tsx";
import { TextField } from "../../../ui/text-field.tsx";
import { type ClockEntry, type Entry, type EntryField, type SolarEntry, wrongFields } from "./draft.ts";

interface EntryEditorProps {
  /** Counted from 1. */
  number: number;
  entry: Entry;
  onChange: (entry: Entry) => void;
  onRemove: () => void;
}

/** One window of a schedule: by the sun, or by the clock. */
export function EntryEditor({ number, entry, onChange, onRemove }: EntryEditorProps): ReactNode {
  const wrong = new Set(wrongFields(entry));
  const title = t(entry.kind === "solar" ? "schedule.bySun" : "schedule.byClock", { number });
  return (
    <fieldset className="entry" data-testid="schedule-entry">
      <legend>{title}</legend>
      {entry.kind === "solar" ? (
        <SolarFields entry={entry} wrong={wrong} onChange={onChange} />
      ) : (
        <ClockFields entry={entry} wrong={wrong} onChange={onChange} />
      )}
      <button
        type="button"
        className="text-button entry-remove"
        aria-label={t("schedule.removeEntry", { title })}
        onClick={onRemove}
      >
        {t("schedule.remove")}
      </button>
    </fieldset>
  );
}

interface FieldsProps<Kind extends Entry> {
  entry: Kind;
  wrong: ReadonlySet<EntryField>;
  onChange: (entry: Kind) => void;
}

const ANCHORS = ["sunrise", "sunset", "golden_hour", "blue_hour"] as const;
const WHENS = ["both", "morning", "evening"] as const;

function SolarFields({ entry, wrong, onChange }: FieldsProps<SolarEntry>): ReactNode {
  const { anchor, when } = entry;
  const hasTwo = anchor === "golden_hour" || anchor === "blue_hour";
  const change = (next: Partial<SolarEntry>): void => onChange(withoutUndefined({ ...entry, ...next }));
  return (
    <div className="form-row">
      <Choice
        label={t("schedule.anchor")}
        value={anchor}
        options={ANCHORS.map((each) => [each, t(`schedule.anchor_${each}`)])}
        onChange={(next) =>
          change({ anchor: next, when: next === "golden_hour" || next === "blue_hour" ? when : undefined })
        }
      />
      {hasTwo && (
        <Choice
          label={t("schedule.when")}
          value={when ?? "both"}
          options={WHENS.map((each) => [each, t(`schedule.when_${each}`)])}
          onChange={(next) => change({ when: next === "both" ? undefined : next })}
        />
      )}
      <NumberField
        label="schedule.offset"
        problem={wrong.has("offset_min") ? "schedule.offsetWrong" : undefined}
        hint="schedule.offsetHint"
        value={entry.offset_min}
        min={-720}
        max={720}
        onChange={(offset_min) => change({ offset_min })}
      />
      <NumberField
        label="schedule.duration"
        problem={wrong.has("duration_min") ? "schedule.durationWrong" : undefined}
        value={entry.duration_min}
        min={1}
        max={1440}
        onChange={(duration_min) => change({ duration_min })}
      />
      <IntervalField
        value={entry.interval_s}
        isWrong={wrong.has("interval_s")}
        onChange={(interval_s) => change({ interval_s })}
      />
    </div>
  );
}

const WEEK = [1, 2, 3, 4, 5, 6, 7] as const;

function ClockFields({ entry, wrong, onChange }: FieldsProps<ClockEntry>): ReactNode {
  const { days = WEEK } = entry;
  const change = (next: Partial<ClockEntry>): void => onChange(withoutUndefined({ ...entry, ...next }));
  const toggle = (day: number): void => {
    const next = WEEK.filter((each) => (each === day ? !days.includes(each) : days.includes(each)));
    change({ days: next.length === WEEK.length ? undefined : [...next] });
  };
  return (
    <>
      <div className="form-row">
        <TextField
          label={t("schedule.start")}
          type="time"
          value={entry.start}
          problem={wrong.has("start") ? t("schedule.timeWrong") : undefined}
          onChange={(event) => change({ start: event.target.value })}
        />
        <TextField
          label={t("schedule.end")}
          type="time"
          value={entry.end}
          hint={entry.end <= entry.start ? t("schedule.nextDay") : ""}
          problem={wrong.has("end") ? t("schedule.timeWrong") : undefined}
          onChange={(event) => change({ end: event.target.value })}
        />
        <IntervalField
          value={entry.interval_s}
          isWrong={wrong.has("interval_s")}
          onChange={(interval_s) => change({ interval_s })}
        />
      </div>
      <fieldset className="days" data-invalid={wrong.has("days")}>
        <legend>{t("schedule.days")}</legend>
        {WEEK.map((day) => (
          <label key={day} className="day">
            <input type="checkbox" checked={days.includes(day)} onChange={() => toggle(day)} />
            <span>{t(`schedule.day_${day}`)}</span>
          </label>
        ))}
        {wrong.has("days") && <p className="field-note">{t("schedule.daysWrong")}</p>}
      </fieldset>
    </>
  );
}

interface IntervalFieldProps {
  value: number;
  isWrong: boolean;
  onChange: (value: number) => void;
}

function IntervalField({ value, isWrong, onChange }: IntervalFieldProps): ReactNode {
  const problem = isWrong ? "schedule.intervalWrong" : undefined;
  return <NumberField label="schedule.interval" {...{ problem, value, min: 1, max: 86_400, onChange }} />;
}

interface NumberFieldProps {
  label: TextKey;
  hint?: TextKey;
  problem: TextKey | undefined;
  value: number;
  min: number;
  max: number;
  onChange: (value: number) => void;
}

function NumberField({ label, hint, problem, value, min, max, onChange }: NumberFieldProps): ReactNode {
  return (
    <TextField
      label={t(label)}
      type="number"
      inputMode="numeric"
      {...{ min, max, ...(hint === undefined ? {} : { hint: t(hint) }) }}
      problem={problem === undefined ? undefined : t(problem)}
      value={Number.isNaN(value) ? "" : value}
      onChange={(event) => onChange(event.target.valueAsNumber)}
    />
  );
}

/** The contract knows absent members, and none that is undefined. */
function withoutUndefined<Kind extends Entry>(entry: { [Name in keyof Kind]: Kind[Name] | undefined }): Kind {
  return Object.fromEntries(Object.entries(entry).filter(([, value]) => value !== undefined)) as Kind;
}
