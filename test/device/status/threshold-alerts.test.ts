import { mkdirSync, writeFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { alertSchema, resourcesSchema, storageSchema } from "../../../contract/events.ts";
import { Host } from "../../../device/host/host.ts";
import { ThresholdAlerts, type ThresholdAlertsOptions } from "../../../device/status/threshold-alerts.ts";
import { cameraAt, envelopeOf, openBroker, stateTopic, tree } from "../support/cameras.ts";
import { temporaryFolder } from "../support/programs.ts";

/** Alerts, and a list of what they publish: the message of a raised alert, or undefined for a cleared alert. */
function alertsWith(changes: Partial<ThresholdAlertsOptions> = {}) {
  const published: [name: string, message: string | undefined][] = [];
  const raised: (readonly string[])[] = [];
  const alerts = new ThresholdAlerts({
    limits: { diskPercent: 80 },
    raised: [],
    publish: (name, alert) => published.push([name, alert?.message]),
    onChange: (names) => raised.push(names),
    ...changes,
  });
  const storage = (usedPercent: number) => alerts.storage({ total_bytes: 1000, free_bytes: 1000 - 10 * usedPercent });
  return { alerts, storage, published, raised };
}

test("the camera raises an alert once when the disk fills up, and clears it once when the usage is well below the limit", () => {
  const { storage, published, raised } = alertsWith();
  for (const used of [50, 80, 81, 95, 100, 79, 81, 75.1, 76]) storage(used);
  expect(published).toEqual([["disk", "The camera's storage is 81 % full"]]);
  for (const used of [74.9, 60, 80]) storage(used);
  expect(published.slice(1)).toEqual([["disk", undefined]]);
  storage(80.5);
  expect(published.slice(2)).toEqual([["disk", "The camera's storage is 80 % full"]]);
  expect(raised).toEqual([["disk"], [], ["disk"]]);
});

test("the camera publishes its limit, and without a limit leaves alerts to the backend, including alerts of an earlier run", () => {
  expect(alertsWith().storage(90)).toMatchObject({ alert_percent: 80 });
  const { storage, published, raised } = alertsWith({ limits: {}, raised: ["disk"] });
  expect(storage(100)).not.toHaveProperty("alert_percent");
  expect([published, raised]).toEqual([[], [[]]]);
});

test("the camera raises an alert once for heat, clears the alert after cooling down, and ignores a missing reading", () => {
  const { alerts, published } = alertsWith({ limits: { temperatureC: 70 } });
  const readings = [undefined, 69, 70, 70.6, 90, undefined, 62, 71, 61.9, 69];
  for (const degrees of readings)
    alerts.resources({ cpu_percent: 5, memory_bytes: 1, ...(degrees === undefined ? {} : { temperature_c: degrees }) });
  expect(published).toEqual([
    ["temperature", "The camera's computer is at 71 °C"],
    ["temperature", undefined],
  ]);
});

test("the camera does not repeat an alert of an earlier run, and clears the alert when the problem is over", () => {
  const { storage, published } = alertsWith({ raised: ["disk"] });
  storage(90);
  expect(published).toEqual([]);
  storage(10);
  expect(published).toEqual([["disk", undefined]]);
});

test("the camera raises two alerts independently", () => {
  const { alerts, storage, raised } = alertsWith();
  storage(90);
  alerts.resources({ cpu_percent: 5, memory_bytes: 1, temperature_c: 85 });
  storage(10);
  expect(raised).toEqual([["disk"], ["disk", "temperature"], ["temperature"]]);
});

/** Creates folders like those of Linux below /sys. */
function machineWith(sensors: Record<string, string>, supplies: Record<string, Record<string, string>> = {}) {
  const [thermal, powerSupply] = [temporaryFolder(), temporaryFolder()];
  for (const [zone, temp] of Object.entries(sensors)) {
    mkdirSync(join(thermal, zone));
    writeFileSync(join(thermal, zone, "temp"), temp);
  }
  for (const [name, values] of Object.entries(supplies)) {
    mkdirSync(join(powerSupply, name));
    for (const [file, value] of Object.entries(values)) writeFileSync(join(powerSupply, name, file), `${value}\n`);
  }
  return { thermal, powerSupply };
}

test("the camera measures the temperature of the hottest working sensor", async () => {
  const sensors = {
    thermal_zone0: "48312\n",
    thermal_zone1: "61870\n",
    thermal_zone2: "0\n",
    thermal_zone3: "-274000\n",
  };
  const broken = { thermal_zone4: "", thermal_zone5: "hot\n", cooling_device0: "99000\n" };
  const host = new Host(machineWith({ ...sensors, ...broken }));
  const { resources } = await host.read();
  expect(resources.temperature_c).toBe(61.9);
  expect(resourcesSchema.strict().safeParse(resources).error).toBeUndefined();
});

test("the camera has no readings of missing sensors, battery or disk", async () => {
  const nowhere = join(temporaryFolder(), "nowhere");
  const host = new Host({ thermal: nowhere, powerSupply: nowhere, dataPath: nowhere });
  const readings = await host.read();
  expect(Object.keys(readings)).toEqual(["resources"]);
  expect(readings.resources).toEqual({ cpu_percent: expect.any(Number), memory_bytes: expect.any(Number) });
});

test.each([
  ["Discharging", "63", { source: "battery", battery_percent: 63 }],
  ["Charging", "64", { source: "mains", battery_percent: 64 }],
  ["Full", "unknown", { source: "mains" }],
])("the camera reads a battery that is %s at %s", async (status, capacity, power) => {
  const mains = { type: "Mains", online: "1" };
  const host = new Host(machineWith({}, { AC: mains, BAT0: { type: "Battery", status, capacity } }));
  expect((await host.read()).power).toEqual(power);
});

test("the camera measures the disk with the camera's data", async () => {
  const dataPath = temporaryFolder();
  const { storage } = await new Host({ dataPath }).read();
  const { blocks, bsize } = await statfs(dataPath);
  expect(storage?.total_bytes).toBe(blocks * bsize);
  expect(storage?.free_bytes).toBeLessThanOrEqual(blocks * bsize);
});

test("the camera raises a retained alert about a real machine, and clears the alert after a restart", async () => {
  const broker = await openBroker();
  const dataPath = temporaryFolder();
  const topic = tree.build({ kind: "camera-alert", camera: "north", name: "disk" });
  const camera = () => ({
    about: { model: "Stand-in", firmware: "1" },
    capture: () => Promise.reject(new Error("no picture")),
  });
  const start = (diskPercent: number) =>
    cameraAt(broker, {
      camera: camera(),
      config: { dataPath, watchHost: true, readingsIntervalS: 0.05, readingsMaxAgeS: 0, alerts: { diskPercent } },
    });
  // Every disk is fuller than this limit.
  const first = await start(-1);
  await broker.until(() => broker.on(topic).length > 0);
  const enough = broker.on(stateTopic("storage")).length + 3;
  await broker.until(() => broker.on(stateTopic("storage")).length >= enough);
  expect(broker.on(topic)).toHaveLength(1);
  const raised = envelopeOf(broker.on(topic)[0] ?? expect.fail("no alert"));
  expect(alertSchema.parse(raised.data)).toMatchObject({ alert: "disk", severity: "warning" });
  const published = broker.on(stateTopic("storage")).map((message) => storageSchema.parse(envelopeOf(message).data));
  expect(published[0]?.total_bytes).toBeGreaterThan(0);
  await first.stop();
  expect(broker.retained(topic)).toBeDefined();
  // No disk is as full as this limit.
  await start(200);
  await broker.until(() => broker.retained(topic) === undefined);
  expect(broker.on(topic)).toHaveLength(2);
});
