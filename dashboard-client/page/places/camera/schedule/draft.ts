import type { Schedule } from "../../../../../contract/commands.ts";

export type Entry = Schedule["entries"][number];
export type SolarEntry = Extract<Entry, { kind: "solar" }>;
export type ClockEntry = Extract<Entry, { kind: "clock" }>;

/** An entry that somebody edits. A number that is not filled in is NaN, and a time of day is empty. */
export interface DraftEntry {
  /** Unique in this draft. */
  key: number;
  entry: Entry;
}

/** A camera takes no more entries. */
export const MAX_ENTRIES = 32;

export const NEW_ENTRY: Record<Entry["kind"], Entry> = {
  solar: { kind: "solar", anchor: "sunrise", offset_min: -30, duration_min: 90, interval_s: 60 },
  clock: { kind: "clock", start: "08:00", end: "18:00", interval_s: 300 },
};

let keys = 0;

export function draftOf(entry: Entry): DraftEntry {
  return { key: ++keys, entry };
}

export type EntryField = "offset_min" | "duration_min" | "interval_s" | "start" | "end" | "days";

const CLOCK_TIME = /^([01]\d|2[0-3]):[0-5]\d$/;

/** The fields that the contract refuses. */
export function wrongFields(entry: Entry): EntryField[] {
  const wrong: EntryField[] = [];
  if (!isWithin(entry.interval_s, 1, 86_400)) wrong.push("interval_s");
  if (entry.kind === "solar") {
    if (!isWithin(entry.offset_min, -720, 720)) wrong.push("offset_min");
    if (!(entry.duration_min > 0 && entry.duration_min <= 1440)) wrong.push("duration_min");
  } else {
    if (!CLOCK_TIME.test(entry.start)) wrong.push("start");
    if (!CLOCK_TIME.test(entry.end)) wrong.push("end");
    if (entry.days?.length === 0) wrong.push("days");
  }
  return wrong;
}

export function isValid(entry: Entry): boolean {
  return wrongFields(entry).length === 0;
}

/** Two schedules with the same text are the same. NaN becomes null, so an unfinished entry equals no valid one. */
export function textOfEntries(entries: readonly Entry[]): string {
  return JSON.stringify(entries.map(normal));
}

/** With the members in one order, and without defaults that somebody wrote down. */
function normal(entry: Entry): unknown[] {
  if (entry.kind === "clock") {
    const days = entry.days === undefined || entry.days.length === 7 ? "all" : [...entry.days].sort();
    return ["clock", entry.start, entry.end, days, entry.interval_s];
  }
  const { anchor, when = "both", offset_min, duration_min, interval_s } = entry;
  return ["solar", anchor, when, offset_min, duration_min, interval_s];
}

function isWithin(value: number, min: number, max: number): boolean {
  return value >= min && value <= max;
}
