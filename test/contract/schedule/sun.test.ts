import { expect, test } from "vitest";
import { nextGoldenHour, solarDay, sunPosition } from "../../../contract/schedule/sun.ts";

const zermatt = { lat: 46.02, lon: 7.75, timezone: "Europe/Zurich" };
const quito = { lat: -0.18, lon: -78.47, timezone: "America/Guayaquil" };
const sydney = { lat: -33.87, lon: 151.21, timezone: "Australia/Sydney" };
const longyearbyen = { lat: 78.22, lon: 15.65, timezone: "Arctic/Longyearbyen" };

// The elevation at noon is 90° − latitude + the sun's declination (0° at the equinoxes, 23.44° at the solstices).
test.each([
  ["Zermatt, noon of the June solstice, in the south", zermatt, "2026-06-21T11:31:00Z", 67.4, 180],
  ["Zermatt, noon of the December solstice, in the south", zermatt, "2026-12-21T11:27:00Z", 20.6, 180],
  ["Sydney, noon of the December solstice, in the north", sydney, "2026-12-21T01:53:00Z", 79.6, 0],
])("%s", (_, place, at, elevation, azimuth) => {
  const sun = sunPosition(new Date(at), place);
  expect(Math.abs(sun.elevation - elevation)).toBeLessThan(0.3);
  expect(Math.abs(((sun.azimuth - azimuth + 540) % 360) - 180)).toBeLessThan(4);
});

test("the sun at the equator at an equinox rises in the east and sets in the west twelve hours later", () => {
  const { sunrise, sunset } = solarDay(new Date("2026-03-20T17:00:00Z"), quito);
  const [rise, set] = [sunrise ?? expect.fail(), sunset ?? expect.fail()];
  expect(Math.abs(sunPosition(rise, quito).azimuth - 90)).toBeLessThan(1);
  expect(Math.abs(sunPosition(set, quito).azimuth - 270)).toBeLessThan(1);
  expect(Math.abs(set.getTime() - rise.getTime() - 12 * 3_600_000)).toBeLessThan(15 * 60_000);
});

test("golden and blue hours start at their defined elevations", () => {
  const day = solarDay(new Date("2026-09-01T12:00:00Z"), zermatt);
  const heights = ({ morning, evening }: typeof day.golden_hour): number[] =>
    [morning, evening].map((moment) => Math.round(sunPosition(moment ?? expect.fail(), zermatt).elevation));
  expect(heights(day.golden_hour)).toEqual([-6, 6]);
  expect(heights(day.blue_hour)).toEqual([-12, -6]);
});

test("the next golden hour after noon is in the evening, and after midnight in the morning", () => {
  const evening = nextGoldenHour(new Date("2026-09-01T11:00:00Z"), zermatt) ?? expect.fail();
  expect(evening.toISOString()).toMatch(/^2026-09-01T17:/);
  const morning = nextGoldenHour(new Date("2026-09-01T22:00:00Z"), zermatt) ?? expect.fail();
  expect(morning.toISOString()).toMatch(/^2026-09-02T04:/);
});

test("the polar night has no sunrise or sunset, and its next golden hour is weeks later", () => {
  const midwinter = new Date("2026-12-21T12:00:00Z");
  expect(solarDay(midwinter, longyearbyen)).toMatchObject({
    sunrise: undefined,
    sunset: undefined,
    golden_hour: { morning: undefined, evening: undefined },
  });
  const next = nextGoldenHour(midwinter, longyearbyen) ?? expect.fail();
  expect(next.getTime() - midwinter.getTime()).toBeGreaterThan(20 * 86_400_000);
});

test("the pole may have no next golden hour", () => {
  const next = nextGoldenHour(new Date("2026-06-21T12:00:00Z"), { lat: 90, lon: 0, timezone: "UTC" });
  expect(next === undefined || next > new Date("2026-08-01T00:00:00Z")).toBe(true);
});
