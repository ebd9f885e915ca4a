import sharp from "sharp";
import { expect, test } from "vitest";
import { environmentSchema, powerSchema, storageSchema } from "../../../contract/events.ts";
import { SimulatedCamera } from "../../../device/simulator/simulated-camera.ts";

const zermatt = { lat: 46.02, lon: 7.75, timezone: "Europe/Zurich" };
const noon = new Date("2026-06-21T11:30:00Z");
/** A night with a new moon. */
const midnight = new Date("2026-06-14T23:30:00Z");
const small = { location: zermatt, width: 160, height: 120 };

async function luminance(jpeg: Buffer): Promise<number> {
  const { channels } = await sharp(jpeg).greyscale().stats();
  return channels[0]?.mean ?? expect.fail("no channel");
}

/** The mean difference of two pictures, 0 to 255. */
async function difference(a: Buffer, b: Buffer): Promise<number> {
  const [one, other] = await Promise.all([a, b].map((jpeg) => sharp(jpeg).greyscale().raw().toBuffer()));
  if (one === undefined || other === undefined) expect.fail("no picture");
  return one.reduce((sum, value, index) => sum + Math.abs(value - (other[index] ?? 0)), 0) / one.length;
}

test("the simulated camera delivers a JPEG of the requested size, with the settings of the picture", async () => {
  const { jpeg, width, height, settings } = await new SimulatedCamera(small).capture({ iso: 800 }, noon);
  expect(await sharp(jpeg).metadata()).toMatchObject({ format: "jpeg", width: 160, height: 120 });
  expect([width, height]).toEqual([160, 120]);
  expect(settings).toMatchObject({ iso: 800, quality: 88, white_balance: "auto" });
  expect(settings.exposure_s).toBeLessThan(0.02);
});

test("the simulated camera delivers pictures that differ by noise at one moment, and by more after a minute", async () => {
  const camera = new SimulatedCamera(small);
  const first = await camera.capture({}, noon);
  const same = await camera.capture({}, noon);
  const later = await camera.capture({}, new Date(noon.getTime() + 60_000));
  expect(same.jpeg.equals(first.jpeg)).toBe(false);
  expect(await difference(first.jpeg, later.jpeg)).toBeGreaterThan(await difference(first.jpeg, same.jpeg));
});

test("the simulated camera delivers bright pictures at noon, darker pictures at dusk, and the darkest pictures in a moonless night", async () => {
  const camera = new SimulatedCamera(small);
  const bright = await camera.capture({}, noon);
  const dusk = await camera.capture({}, new Date("2026-06-14T20:25:00Z"));
  const dark = await camera.capture({}, midnight);
  const [day, evening, night] = await Promise.all([bright, dusk, dark].map(({ jpeg }) => luminance(jpeg)));
  expect(day).toBeGreaterThan(85);
  expect(evening).toBeLessThan((day ?? 0) * 0.8);
  expect(night).toBeLessThan((evening ?? 0) * 0.8);
  expect(night).toBeGreaterThan(4);
  expect(dark.settings.exposure_s).toBeGreaterThan(1);
});

test("the simulated camera shows another mountain for another seed, and the same mountain for the same seed", async () => {
  const take = async (seed: string) => (await new SimulatedCamera({ ...small, seed }).capture({}, noon)).jpeg;
  const [north, again, south] = [await take("north"), await take("north"), await take("south")];
  expect(await difference(north, again)).toBeLessThan(1);
  expect(await difference(north, south)).toBeGreaterThan(12);
});

test("the simulated camera applies exposure compensation, white balance and quality", async () => {
  const camera = new SimulatedCamera(small);
  const plain = await camera.capture({}, noon);
  const over = await camera.capture({ exposure_compensation: 1.5 }, noon);
  expect(await luminance(over.jpeg)).toBeGreaterThan((await luminance(plain.jpeg)) + 15);
  const warm = (await sharp((await camera.capture({ white_balance: "cloudy" }, noon)).jpeg).stats()).channels;
  const cool = (await sharp((await camera.capture({ white_balance: "tungsten" }, noon)).jpeg).stats()).channels;
  expect((warm[0]?.mean ?? 0) - (warm[2]?.mean ?? 0)).toBeGreaterThan((cool[0]?.mean ?? 0) - (cool[2]?.mean ?? 0) + 20);
  expect((await camera.capture({ quality: 30 }, noon)).jpeg.length).toBeLessThan(plain.jpeg.length * 0.7);
});

test.each([
  ["polar night", { lat: 78.2, lon: 15.6, timezone: "UTC" }, "2026-12-21T12:00:00Z"],
  ["polar day", { lat: 78.2, lon: 15.6, timezone: "UTC" }, "2026-06-21T00:00:00Z"],
  ["the southern hemisphere", { lat: -44.6, lon: 168, timezone: "Pacific/Auckland" }, "2026-01-01T00:00:00Z"],
  ["the pole itself", { lat: 90, lon: 0, timezone: "UTC" }, "2026-03-20T12:00:00Z"],
])("the simulated camera delivers a picture in %s", async (_, location, at) => {
  const { jpeg } = await new SimulatedCamera({ ...small, location }).capture({}, new Date(at));
  expect((await sharp(jpeg).stats()).channels.every(({ stdev }) => stdev > 2)).toBe(true);
});

test("the simulated camera measures readings that are valid by the contract, change smoothly, and repeat for the same moment", () => {
  const camera = new SimulatedCamera(small);
  const weather = (at: Date) => camera.readings?.(at).weather ?? expect.fail("no weather");
  for (let hour = 0; hour < 24 * 14; hour++) {
    const at = new Date(noon.getTime() + hour * 3_600_000);
    const { storage, power } = camera.readings?.(at) ?? {};
    expect(storageSchema.safeParse(storage).success && powerSchema.safeParse(power).success).toBe(true);
    expect(environmentSchema.partial().safeParse(weather(at)).success).toBe(true);
    const soon = weather(new Date(at.getTime() + 60_000));
    expect(Math.abs((soon.temperature_c ?? 0) - (weather(at).temperature_c ?? 0))).toBeLessThan(0.5);
    expect(Math.abs((soon.cloud_percent ?? 0) - (weather(at).cloud_percent ?? 0))).toBeLessThan(5);
  }
  expect(weather(noon)).toEqual(weather(noon));
});

test("the simulated camera reports how long a full picture takes", async () => {
  const camera = new SimulatedCamera({ location: zermatt });
  await camera.capture({}, noon);
  const started = performance.now();
  const count = 4;
  for (let frame = 0; frame < count; frame++) await camera.capture({}, new Date(noon.getTime() + frame * 10_000));
  const ms = (performance.now() - started) / count;
  process.stdout.write(`simulated camera: ${Math.round(ms)} ms for a picture of 1280 × 960\n`);
  expect(ms).toBeGreaterThan(0);
});
