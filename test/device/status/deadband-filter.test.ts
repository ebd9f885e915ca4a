import { describe, expect, it } from "vitest";
import { DeadbandFilter } from "../../../device/status/deadband-filter.ts";
import { cameraAt, eventTopic, openBroker, plainCamera, stateTopic } from "../support/cameras.ts";

const GB = 1e9;
const environment = { sun_elevation: 10, sun_azimuth: 90, temperature_c: 4, next_golden_hour: "2026-11-29T15:00:00Z" };
const storage = { total_bytes: 64 * GB, free_bytes: 32 * GB };
const resources = { cpu_percent: 3, memory_bytes: 80e6, temperature_c: 45 };

function filterAt(maxAgeMs = 1_800_000) {
  const clock = { now: 0 };
  return { clock, filter: new DeadbandFilter(maxAgeMs, () => clock.now) };
}

describe("a reading", () => {
  it("passes the first time, and not again while it hardly changes", () => {
    const { filter } = filterAt();
    expect(filter.passes("environment", environment)).toBe(true);
    const later = { ...environment, sun_elevation: 12.4, temperature_c: 5.9, next_golden_hour: "2026-11-29T15:00:04Z" };
    expect(filter.passes("environment", later)).toBe(false);
    expect(filter.passes("storage", storage)).toBe(true);
    expect(filter.passes("storage", { ...storage, free_bytes: 31.5 * GB })).toBe(false);
    expect(filter.passes("resources", resources)).toBe(true);
    expect(filter.passes("resources", { cpu_percent: 20, memory_bytes: 100e6, temperature_c: 46.5 })).toBe(false);
  });

  it.each([
    ["environment", environment, { ...environment, sun_elevation: 12.5 }],
    ["environment", environment, { ...environment, temperature_c: 2 }],
    ["environment", environment, { ...environment, next_golden_hour: "2026-11-30T06:30:00Z" }],
    ["environment", environment, { sun_elevation: 10, sun_azimuth: 90 }],
    ["storage", storage, { ...storage, free_bytes: 31.3 * GB }],
    ["storage", storage, { ...storage, alert_percent: 90 }],
    ["power", { source: "mains" }, { source: "battery" }],
    ["power", { source: "battery", battery_percent: 50 }, { source: "battery", battery_percent: 48 }],
    ["resources", resources, { ...resources, temperature_c: 47 }],
  ] as const)("of %s passes again when it has changed enough", (name, before, now) => {
    const { filter } = filterAt();
    filter.passes(name, before);
    expect(filter.passes(name, now)).toBe(true);
  });

  it("that drifts is compared with the last published value, not with the previous value", () => {
    const { filter } = filterAt();
    const passed = [0, 1, 2, 3, 4].map((degrees) =>
      filter.passes("resources", { ...resources, temperature_c: degrees }),
    );
    expect(passed).toEqual([true, false, true, false, true]);
  });

  it("passes again after the maximal age", () => {
    const { filter, clock } = filterAt();
    filter.passes("storage", storage);
    clock.now = 1_799_999;
    expect(filter.passes("storage", storage)).toBe(false);
    clock.now = 1_800_000;
    expect(filter.passes("storage", storage)).toBe(true);
  });
});

describe("an idle camera", () => {
  /** Resolves after `count` more measurements. */
  async function looks(count: number, seen: () => number): Promise<void> {
    const enough = seen() + count;
    await expect.poll(seen, { interval: 10 }).toBeGreaterThanOrEqual(enough);
  }

  it("publishes unchanged readings only once per link", async () => {
    const broker = await openBroker();
    let seen = 0;
    const camera = {
      ...(await plainCamera()),
      readings: () => {
        seen++;
        return { storage, power: { source: "solar", battery_percent: 80 } } as const;
      },
    };
    await cameraAt(broker, { camera, config: { readingsIntervalS: 0.02 } });
    const count = () => ["environment", "storage", "power"].map((name) => broker.on(stateTopic(name)).length);
    // Readings from before the link may be sent before the readings that the birth publishes.
    await broker.until(() => count().every((times) => times > 0));
    await looks(20, () => seen);
    const before = count();
    await looks(20, () => seen);
    expect(count()).toEqual(before);
    broker.cut();
    await broker.until(() => count().every((times, index) => times > (before[index] ?? 0)));
    await looks(20, () => seen);
    expect(count()).toEqual(before.map((times) => times + 1));
    expect(broker.on(eventTopic("error.occurred"))).toEqual([]);
  });

  it("sends the configured keep-alive to the broker", async () => {
    const broker = await openBroker();
    await cameraAt(broker, { config: { keepaliveS: 17 } });
    expect(await broker.until(() => broker.keepalives[0])).toBe(17);
  });
});
