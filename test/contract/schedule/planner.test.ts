import fc from "fast-check";
import { expect, test } from "vitest";
import type { Schedule } from "../../../contract/commands.ts";
import { localDay } from "../../../contract/schedule/local-time.ts";
import {
  activeInterval,
  capturePhaseMs,
  countCaptures,
  everyDay,
  nextCapture,
  nextCaptures,
  type Window,
  windowsAround,
} from "../../../contract/schedule/planner.ts";

const zurich = { lat: 46.02, lon: 7.75, timezone: "Europe/Zurich" };
const zurichDay = new Intl.DateTimeFormat("en-CA", { timeZone: "Europe/Zurich", dateStyle: "short" });
const longyearbyen = { lat: 78.22, lon: 15.65, timezone: "Arctic/Longyearbyen" };

function clock(start: string, end: string, changes: { days?: number[]; interval_s?: number } = {}): Schedule {
  return { entries: [{ kind: "clock", start, end, interval_s: 60, ...changes }] };
}

/** The windows that start on a day in Zurich, as UTC times. */
function on(schedule: Schedule, day: string, location = zurich): string[] {
  return windowsAround(schedule, location, new Date(`${day}T12:00:00Z`))
    .filter(({ start }) => zurichDay.format(start) === day)
    .map(({ start, end }) => `${start.toISOString().slice(11, 16)}–${end.toISOString().slice(11, 16)}`);
}

test("the schedule reads times of day in the camera's time zone, in winter and in summer", () => {
  expect(on(clock("06:30", "08:00"), "2026-01-15")).toEqual(["05:30–07:00"]);
  expect(on(clock("06:30", "08:00"), "2026-07-15")).toEqual(["04:30–06:00"]);
  expect(on(clock("06:30", "08:00"), "2026-07-15", { ...zurich, timezone: "Asia/Kathmandu" })).toEqual(["00:45–02:15"]);
});

// Zurich, 29 March 2026: 02:00 becomes 03:00 at 01:00 UTC. 25 October: 03:00 becomes 02:00 at 01:00 UTC.
test("the schedule skips a window inside the skipped hour of spring, and delays a window that starts in this hour until the hour ends", () => {
  expect(on(clock("02:00", "03:00"), "2026-03-29")).toEqual([]);
  expect(on(clock("02:30", "03:30"), "2026-03-29")).toEqual(["01:00–01:30"]);
  expect(on(clock("01:30", "04:00"), "2026-03-29")).toEqual(["00:30–02:00"]);
});

test("the schedule opens a window twice in the hour that clocks repeat in autumn", () => {
  expect(on(clock("02:00", "03:00"), "2026-10-25")).toEqual(["00:00–02:00"]);
  expect(on(clock("02:15", "02:45"), "2026-10-25")).toEqual(["00:15–00:45", "01:15–01:45"]);
});

// Santiago, 5 April 2026: 24:00 of Saturday becomes 23:00 at 03:00 UTC. Found by the property test below with seed 1259601797.
test("the schedule plans no picture outside of windows around a repeated hour before midnight", () => {
  const santiago = { ...zurich, timezone: "America/Santiago" };
  const around = windowsAround(clock("23:45", "23:00", { days: [5, 6, 1] }), santiago, at("12:00:00", "2026-04-05"));
  const shown = around
    .filter(({ start }) => start >= at("00:00:00", "2026-04-04") && start < at("00:00:00", "2026-04-06"))
    .map(({ start, end }) => `${start.toISOString().slice(5, 16)}–${end.toISOString().slice(5, 16)}`);
  expect(shown).toEqual([
    // From Friday 23:45 to the first 23:00 of Saturday.
    "04-04T02:45–04-05T02:00",
    // Saturday has two 23:45: the first window ends when clocks are set back, the second on Sunday at 23:00.
    "04-05T02:45–04-05T03:00",
    "04-05T03:45–04-06T03:00",
  ]);
});

test("a whole-day window lasts 23 or 25 hours when clocks change, without a gap between days", () => {
  for (const day of ["2026-03-28", "2026-10-24"]) {
    const windows = windowsAround(everyDay(60), zurich, new Date(`${day}T12:00:00Z`));
    for (const [index, { end }] of windows.slice(0, -1).entries()) expect(windows[index + 1]?.start).toEqual(end);
  }
});

test("the schedule assigns a window over midnight to the day on which the window starts", () => {
  const friday = clock("22:00", "04:00", { days: [5] });
  const active = (at: string): boolean => {
    const moment = new Date(at);
    return activeInterval(windowsAround(friday, zurich, moment), moment) !== undefined;
  };
  expect(active("2026-01-16T21:30:00Z")).toBe(true); // Friday, 22:30
  expect(active("2026-01-17T02:30:00Z")).toBe(true); // Saturday, 03:30
  expect(active("2026-01-17T03:30:00Z")).toBe(false);
  expect(active("2026-01-17T21:30:00Z")).toBe(false); // Saturday, 22:30
  expect(active("2026-01-16T02:30:00Z")).toBe(false); // Friday, 03:30: Thursday's night
});

test("the schedule always finds the next window of an entry for one day of the week", () => {
  const mondays = clock("12:00", "13:00", { days: [1] });
  const after = new Date("2026-01-12T12:00:01Z"); // Monday, a second after the window closed
  expect(nextCapture(windowsAround(mondays, zurich, after), after)?.toISOString()).toBe("2026-01-19T11:00:00.000Z");
});

test("the schedule follows the sun through the year, and opens twice a day for two golden hours", () => {
  const golden: Schedule = {
    entries: [{ kind: "solar", anchor: "golden_hour", offset_min: -10, duration_min: 60, interval_s: 30 }],
  };
  expect(on(golden, "2026-06-21")).toHaveLength(2);
  const sunrise: Schedule = {
    entries: [{ kind: "solar", anchor: "sunrise", offset_min: -30, duration_min: 90, interval_s: 30 }],
  };
  // By the sunrise equation, cos H = (sin −0.83° − sin φ sin δ) / (cos φ cos δ): sunrise at 03:38 and 07:08 UTC.
  expect(on(sunrise, "2026-06-21")).toEqual(["03:08–04:38"]);
  expect(on(sunrise, "2026-12-21")).toEqual(["06:37–08:07"]);
});

test("the schedule selects one of the two golden or blue hours of a day", () => {
  const entry = { kind: "solar", offset_min: 0, duration_min: 30, interval_s: 30 } as const;
  const of = (anchor: "golden_hour" | "blue_hour", when?: "morning" | "evening"): string[] =>
    on({ entries: [{ ...entry, anchor, ...(when === undefined ? {} : { when }) }] }, "2026-09-01");
  for (const anchor of ["golden_hour", "blue_hour"] as const) {
    const [morning, evening] = [of(anchor, "morning"), of(anchor, "evening")];
    expect([...morning, ...evening]).toEqual(of(anchor));
    expect(morning).toHaveLength(1);
    expect(evening).toHaveLength(1);
    // In the morning the blue hour comes before the golden hour, in the evening after it.
    expect(morning[0]?.localeCompare(evening[0] ?? "")).toBe(-1);
  }
  expect(of("blue_hour", "morning").join() < of("golden_hour", "morning").join()).toBe(true);
  expect(of("blue_hour", "evening").join() > of("golden_hour", "evening").join()).toBe(true);
});

test("the schedule opens no sunset window where the sun does not set, but still opens windows by the clock", () => {
  const midsummer = new Date("2026-06-21T12:00:00Z");
  const sunset = { kind: "solar", anchor: "sunset", offset_min: 0, duration_min: 60, interval_s: 30 } as const;
  const noon = { kind: "clock", start: "12:00", end: "13:00", interval_s: 60 } as const;
  expect(windowsAround({ entries: [sunset] }, longyearbyen, midsummer)).toEqual([]);
  const both = windowsAround({ entries: [sunset, noon] }, longyearbyen, midsummer);
  expect(nextCapture(both, midsummer)?.toISOString()).toBe("2026-06-22T10:00:00.000Z");
});

test("the schedule opens no sunrise window where the sun does not rise", () => {
  const sunrise: Schedule = {
    entries: [{ kind: "solar", anchor: "sunrise", offset_min: 0, duration_min: 60, interval_s: 30 }],
  };
  const midwinter = new Date("2026-12-21T12:00:00Z");
  const windows = windowsAround(sunrise, longyearbyen, midwinter);
  expect(windows).toEqual([]);
  expect(nextCapture(windows, midwinter)).toBeUndefined();
});

const at = (time: string, day = "2026-01-15"): Date => new Date(`${day}T${time}Z`);
const window = (start: string, end: string, intervalS: number): Window => ({
  start: at(start),
  end: at(end),
  intervalS,
});
const times = (windows: Window[], from: string, count: number): (string | undefined)[] => {
  const found: (string | undefined)[] = [];
  let moment = at(from);
  for (let index = 0; index < count; index++) {
    const next = nextCapture(windows, moment);
    found.push(next?.toISOString().slice(11, 19));
    if (next === undefined) break;
    moment = next;
  }
  return found;
};

test("the schedule plans pictures at a window's start and at multiples of the interval, but not at the window's end", () => {
  expect(times([window("10:00:30", "10:03:00", 60)], "09:00:00", 5)).toEqual([
    "10:00:30",
    "10:01:00",
    "10:02:00",
    undefined,
  ]);
});

test("the schedule uses the shorter interval while windows overlap, and then the longer interval again", () => {
  const windows = [window("10:00:00", "10:05:00", 60), window("10:01:30", "10:02:15", 15)];
  expect(times(windows, "10:00:30", 8)).toEqual([
    "10:01:00",
    "10:01:30",
    "10:01:45",
    "10:02:00",
    "10:03:00",
    "10:04:00",
    undefined,
  ]);
});

test("the schedule plans a picture at the end of a window if another open window has a picture due at that moment", () => {
  const windows = [window("10:00:00", "10:05:00", 60), window("10:01:30", "10:02:00", 15)];
  expect(times(windows, "10:01:40", 3)).toEqual(["10:01:45", "10:02:00", "10:03:00"]);
});

test("the schedule plans the same pictures as a check at every second, for any windows", () => {
  const seconds = fc.integer({ min: 0, max: 300 });
  const anyWindow = fc.record({
    start: seconds,
    length: fc.integer({ min: 1, max: 200 }),
    interval: fc.integer({ min: 1, max: 90 }),
  });
  fc.assert(
    fc.property(fc.array(anyWindow, { maxLength: 5 }), fc.integer({ min: 0, max: 89 }), (chosen, phase) => {
      const windows = chosen.map(({ start, length, interval }) => ({
        start: new Date(start * 1000),
        end: new Date((start + length) * 1000),
        intervalS: interval,
      }));
      const expected: number[] = [];
      for (let second = 0; second <= 500; second++) {
        const interval = activeInterval(windows, new Date(second * 1000));
        const opens = chosen.some(({ start }) => start === second);
        if (interval !== undefined && (opens || (second - phase) % interval === 0)) expected.push(second);
      }
      const found: number[] = [];
      for (let next = nextCapture(windows, new Date(-1), phase * 1000); next !== undefined; ) {
        found.push(next.getTime() / 1000);
        next = nextCapture(windows, next, phase * 1000);
      }
      expect(found).toEqual(expected);
      const [from, to] = [phase, 400];
      const range = { start: new Date(from * 1000), end: new Date(to * 1000) };
      const isInside = (second: number) => second >= from && second < to;
      expect(countCaptures(windows, range, phase * 1000)).toBe(expected.filter(isInside).length);
    }),
    { numRuns: 300 },
  );
});

/** Days on which clocks change: by an hour, by half an hour, and at midnight. */
const CHANGES = [
  ["Europe/Zurich", "2026-03-29T12:00:00Z"],
  ["Europe/Zurich", "2026-10-25T12:00:00Z"],
  ["America/New_York", "2026-11-01T12:00:00Z"],
  ["Australia/Lord_Howe", "2026-04-05T00:00:00Z"],
  ["Australia/Lord_Howe", "2026-10-04T00:00:00Z"],
  ["America/Santiago", "2026-04-05T12:00:00Z"],
  ["America/Santiago", "2026-09-06T12:00:00Z"],
] as const;

test.each(CHANGES)(
  "the schedule in %s around %s opens a window exactly while clocks show a time inside the window",
  (timezone, noon) => {
    const middle = new Date(noon);
    const shown = new Intl.DateTimeFormat("en-GB", {
      timeZone: timezone,
      weekday: "short",
      hour: "2-digit",
      minute: "2-digit",
    });
    const moments = Array.from({ length: 2 * 288 }, (_, index) => {
      const moment = new Date(middle.getTime() + (index - 288) * 300_000);
      const [day = "", time = ""] = shown.format(moment).split(/,? /);
      return { moment, day: ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].indexOf(day) + 1, time };
    });
    const quarters = fc.integer({ min: 0, max: 95 }).map((quarter) => {
      const hour = String(Math.floor(quarter / 4)).padStart(2, "0");
      return `${hour}:${String((quarter % 4) * 15).padStart(2, "0")}`;
    });
    const days = fc.uniqueArray(fc.integer({ min: 1, max: 7 }), { minLength: 1 });
    fc.assert(
      fc.property(quarters, quarters, days, (start, end, chosen) => {
        fc.pre(start !== end);
        const windows = windowsAround(clock(start, end, { days: chosen }), { ...zurich, timezone }, middle);
        for (const { moment, day, time } of moments) {
          const before = ((day + 5) % 7) + 1;
          const wanted =
            start < end
              ? time >= start && time < end && chosen.includes(day)
              : (time >= start && chosen.includes(day)) || (time < end && chosen.includes(before));
          const active = activeInterval(windows, moment) !== undefined;
          if (wanted && !active) expect.fail(`${moment.toISOString()} is missed by ${start}–${end} on ${chosen}`);
          if (active && !wanted) expect.fail(`${moment.toISOString()} is added by ${start}–${end} on ${chosen}`);
        }
      }),
      { numRuns: 25 },
    );
  },
);

test("the schedule plans nothing without entries", () => {
  expect(nextCapture(windowsAround({ entries: [] }, zurich, at("10:00:00")), at("10:00:00"))).toBeUndefined();
});

test("the planner lists the next pictures of a camera, with the camera's own phase", () => {
  const phaseMs = capturePhaseMs("north");
  const listed = nextCaptures(windowsAround(everyDay(3600), zurich, at("10:00:00")), at("10:00:00"), 3, phaseMs);
  expect(listed.map((moment) => moment.getTime() % 3_600_000)).toEqual([phaseMs, phaseMs, phaseMs]);
  expect(nextCaptures([window("10:00:00", "10:02:00", 60)], at("09:00:00"), 9)).toHaveLength(2);
});

test("the planner counts the pictures of days of 23, 24 and 25 hours", () => {
  const count = (day: string) => {
    const noon = at("12:00:00", day);
    return countCaptures(windowsAround(everyDay(60), zurich, noon), localDay(noon, zurich.timezone));
  };
  expect(["2026-03-29", "2026-07-01", "2026-10-25"].map(count)).toEqual([23 * 60, 24 * 60, 25 * 60]);
});
