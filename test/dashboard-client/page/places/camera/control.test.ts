import { describe, expect, it } from "vitest";
import { capturePhaseMs, nextCapture, windowsAround } from "../../../../../contract/schedule/planner.ts";
import { pastCommands } from "../../../../../dashboard-client/page/places/camera/commands/history.ts";
import {
  type Entry,
  textOfEntries,
  wrongFields,
} from "../../../../../dashboard-client/page/places/camera/schedule/draft.ts";
import { nextPictures, planDay } from "../../../../../dashboard-client/page/places/camera/schedule/plan.ts";
import {
  fieldText,
  isFieldRight,
  PLAIN_SETTINGS,
  settingOf,
} from "../../../../../dashboard-client/page/places/camera/settings/choices.ts";

const zermatt = { lat: 46.02, lon: 7.75, timezone: "Europe/Zurich" };
const noon = new Date("2026-03-12T11:00:00Z");
const night: Entry = { kind: "clock", start: "22:00", end: "04:00", interval_s: 60 };
const sunset: Entry = { kind: "solar", anchor: "sunset", offset_min: -30, duration_min: 60, interval_s: 30 };

describe("the plan of a schedule", () => {
  it("cuts windows at midnight, and counts the pictures between them", () => {
    const { day, windows, pictures } = planDay([night], "north", zermatt, noon);
    const shown = windows.map(({ start, end }) => [start.toISOString().slice(11, 16), end.toISOString().slice(11, 16)]);
    expect(shown).toEqual([
      ["23:00", "03:00"],
      ["21:00", "23:00"],
    ]);
    expect(day.start.toISOString()).toBe("2026-03-11T23:00:00.000Z");
    expect(pictures).toBe(6 * 60 + 1);
  });

  it("lists the same next pictures as the camera", () => {
    const entries = [night, sunset];
    const listed = nextPictures(entries, "north", zermatt, { after: noon, count: 100 });
    let at = noon;
    for (const moment of listed) {
      at = nextCapture(windowsAround({ entries }, zermatt, at), at, capturePhaseMs("north")) ?? expect.fail();
      expect(moment).toEqual(at);
    }
    expect(listed).toHaveLength(100);
  });

  it("names the hours of a day on which clocks change", () => {
    const { day, hours } = planDay([], "north", zermatt, new Date("2026-03-29T11:00:00Z"));
    expect(day.end.getTime() - day.start.getTime()).toBe(23 * 3_600_000);
    expect(hours.map(({ hour, at }) => [hour, new Date(at).toISOString().slice(11, 16)])).toEqual([
      [0, "23:00"],
      [6, "04:00"],
      [12, "10:00"],
      [18, "16:00"],
    ]);
  });
});

it("the draft of a schedule finds the fields that the contract refuses, and takes the same schedule for the same", () => {
  expect(wrongFields(night)).toEqual([]);
  expect(wrongFields({ ...night, start: "", days: [], interval_s: Number.NaN })).toEqual([
    "interval_s",
    "start",
    "days",
  ]);
  expect(wrongFields({ ...sunset, offset_min: 721, duration_min: 0 })).toEqual(["offset_min", "duration_min"]);
  expect(textOfEntries([{ ...night, days: [1, 2, 3, 4, 5, 6, 7] }])).toBe(textOfEntries([night]));
  expect(textOfEntries([{ ...night, interval_s: Number.NaN }])).not.toBe(textOfEntries([night]));
});

it("the form of settings reads and writes exposures as photographers do, and leaves the choice to the camera", () => {
  expect(["1/250", " 0,5 ", "2", "", "fast", "1/0"].map((text) => settingOf("exposure_s", text))).toEqual([
    ...[0.004, 0.5, 2, null, Number.NaN, Number.POSITIVE_INFINITY],
  ]);
  expect([0.004, 0.5, 2, null].map((value) => fieldText("exposure_s", value))).toEqual(["1/250", "0.5", "2", ""]);
  expect(fieldText("white_balance", "auto")).toBe("");
  const right = (name: "iso" | "exposure_s" | "hdr", text: string) => isFieldRight(name, text, PLAIN_SETTINGS);
  expect([right("iso", "400"), right("iso", "400.5"), right("iso", "10"), right("iso", "")]).toEqual([
    ...[true, false, false, true],
  ]);
  expect([right("exposure_s", "1/0"), right("hdr", "true")]).toEqual([false, true]);
  expect(isFieldRight("iso", "300", { iso: { values: [100, 200] } })).toBe(false);
});

it("the history joins a command with its replies, and says what the server did with it", () => {
  const event = (id: string, data: object) => ({
    ...{ topic: `cameras/north/commands/${id}`, data, timestamp: "2026-03-12T11:00:00Z" },
  });
  const events = [
    event("reboot", { id: "2", status: "failed", error: "not connected", code: 120 }),
    event("capture.now", { command_id: "1", status: "succeeded" }),
    event("reboot", { id: "2", issued_by: "user:bob" }),
    event("capture.now", { command_id: "1", status: "accepted" }),
    event("capture.now", { id: "1", issued_by: "user:ada" }),
  ];
  expect(pastCommands(events)).toMatchObject([
    { id: "2", name: "reboot", by: "user:bob", status: "failed", error: "not connected", code: 120 },
    { id: "1", name: "capture.now", by: "user:ada", status: "succeeded" },
  ]);
});
