import { mkdirSync, writeFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { alertSchema, resourcesSchema, storageSchema } from "../../../contract/events.ts";
import { Host } from "../../../device/host/host.ts";
import { ThresholdAlerts, type ThresholdAlertsOptions } from "../../../device/status/threshold-alerts.ts";
import { cameraAt, envelopeOf, openBroker, stateTopic, tree } from "../support/cameras.ts";
import { temporaryFolder } from "../support/programs.ts";

/** A board, and everything it says: the message of an alert that is raised, or undefined for one that is cleared. */
function boardWith(changes: Partial<ThresholdAlertsOptions> = {}) {
  const said: [name: string, message: string | undefined][] = [];
  const standing: (readonly string[])[] = [];
  const board = new ThresholdAlerts({
    limits: { diskPercent: 80 },
    raised: [],
    publish: (name, alert) => said.push([name, alert?.message]),
    onChange: (raised) => standing.push(raised),
    ...changes,
  });
  const storage = (usedPercent: number) => board.storage({ total_bytes: 1000, free_bytes: 1000 - 10 * usedPercent });
  return { board, storage, said, standing };
}

test("a disk that fills up is told once, and once more when it is well below the limit", () => {
  const { storage, said, standing } = boardWith();
  for (const used of [50, 80, 81, 95, 100, 79, 81, 75.1, 76]) storage(used);
  expect(said).toEqual([["disk", "The camera's storage is 81 % full"]]);
  for (const used of [74.9, 60, 80]) storage(used);
  expect(said.slice(1)).toEqual([["disk", undefined]]);
  storage(80.5);
  expect(said.slice(2)).toEqual([["disk", "The camera's storage is 80 % full"]]);
  expect(standing).toEqual([["disk"], [], ["disk"]]);
});

test("a camera with a limit names it, and one without leaves the alert to the backend, also what an earlier run raised", () => {
  expect(boardWith().storage(90)).toMatchObject({ alert_percent: 80 });
  const { storage, said, standing } = boardWith({ limits: {}, raised: ["disk"] });
  expect(storage(100)).not.toHaveProperty("alert_percent");
  expect([said, standing]).toEqual([[], [[]]]);
});

test("heat is told once, and once more when it has cooled down; a sensor that says nothing changes nothing", () => {
  const { board, said } = boardWith({ limits: { temperatureC: 70 } });
  const readings = [undefined, 69, 70, 70.6, 90, undefined, 62, 71, 61.9, 69];
  for (const degrees of readings)
    board.resources({ cpu_percent: 5, memory_bytes: 1, ...(degrees === undefined ? {} : { temperature_c: degrees }) });
  expect(said).toEqual([
    ["temperature", "The camera's computer is at 71 °C"],
    ["temperature", undefined],
  ]);
});

test("an alert that an earlier run raised is not raised again, and is cleared when it is over", () => {
  const { storage, said } = boardWith({ raised: ["disk"] });
  storage(90);
  expect(said).toEqual([]);
  storage(10);
  expect(said).toEqual([["disk", undefined]]);
});

test("two alerts stand beside each other", () => {
  const { board, storage, standing } = boardWith();
  storage(90);
  board.resources({ cpu_percent: 5, memory_bytes: 1, temperature_c: 85 });
  storage(10);
  expect(standing).toEqual([["disk"], ["disk", "temperature"], ["temperature"]]);
});

/** Folders as Linux has them below /sys. */
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

test("the hottest of the sensors that work is the machine's temperature", async () => {
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

test("a machine without sensors, battery or disk to watch says nothing of them", async () => {
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
])("a battery that is %s at %s is told as what it is", async (status, capacity, power) => {
  const mains = { type: "Mains", online: "1" };
  const host = new Host(machineWith({}, { AC: mains, BAT0: { type: "Battery", status, capacity } }));
  expect((await host.read()).power).toEqual(power);
});

test("the disk is the one that holds the camera's data", async () => {
  const dataPath = temporaryFolder();
  const { storage } = await new Host({ dataPath }).read();
  const { blocks, bsize } = await statfs(dataPath);
  expect(storage?.total_bytes).toBe(blocks * bsize);
  expect(storage?.free_bytes).toBeLessThanOrEqual(blocks * bsize);
});

test("a real camera watches its machine: the alert is retained at the broker, and cleared there over a restart", async () => {
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
  // Any disk is fuller than that.
  const first = await start(-1);
  await broker.until(() => broker.on(topic).length > 0);
  const enough = broker.on(stateTopic("storage")).length + 3;
  await broker.until(() => broker.on(stateTopic("storage")).length >= enough);
  expect(broker.on(topic)).toHaveLength(1);
  const raised = envelopeOf(broker.on(topic)[0] ?? expect.fail("no alert"));
  expect(alertSchema.parse(raised.data)).toMatchObject({ alert: "disk", severity: "warning" });
  const said = broker.on(stateTopic("storage")).map((message) => storageSchema.parse(envelopeOf(message).data));
  expect(said[0]?.total_bytes).toBeGreaterThan(0);
  await first.stop();
  expect(broker.retained(topic)).toBeDefined();
  // None is as full as that.
  await start(200);
  await broker.until(() => broker.retained(topic) === undefined);
  expect(broker.on(topic)).toHaveLength(2);
});
