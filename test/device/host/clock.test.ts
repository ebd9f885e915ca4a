import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Schedule } from "../../../contract/commands.ts";
import { captureProgressSchema } from "../../../contract/events.ts";
import type { CameraAgent } from "../../../device/agent.ts";
import type { CameraConfig } from "../../../device/config.ts";
import {
  cameraAt,
  cameraTopic,
  envelopeOf,
  eventTopic,
  openBroker,
  plainCamera,
  stateTopic,
} from "../support/cameras.ts";
import { Machine } from "../support/machine.ts";
import { temporaryFolder } from "../support/programs.ts";
import type { Received, TestBroker } from "../support/test-broker.ts";

const MINUTE_MS = 60_000;

async function startOn(broker: TestBroker, machine: Machine, config: Partial<CameraConfig> = {}): Promise<CameraAgent> {
  return cameraAt(broker, {
    clock: machine.clock,
    camera: await plainCamera(),
    config: { preview: { width: 96, maxBytes: 65_536, every: 0, onDemand: false }, ...config },
  });
}

const completed = (broker: TestBroker): Received[] => broker.on(eventTopic("capture.completed"));

/** The times of the published pictures, in minutes since a moment, in the order of their arrival. */
function minutesSince(broker: TestBroker, moment: string): number[] {
  const since = Date.parse(moment);
  return completed(broker).map((message) => (Date.parse(envelopeOf(message).timestamp) - since) / MINUTE_MS);
}

/** Takes three pictures a minute apart without a link, and stops the camera, so that everything is on the disk. */
async function threePictures(broker: TestBroker, machine: Machine, config: Partial<CameraConfig>): Promise<void> {
  const agent = await startOn(broker, machine, config);
  for (let picture = 0; picture < 3; picture++) {
    await agent.captureNow();
    machine.pass(MINUTE_MS);
  }
  await agent.stop();
}

/** Compares rounded minutes, to ignore the seconds that the test itself takes. */
function expectMinutes(found: number[], wanted: number[]): void {
  expect(found.map((minutes) => Math.round(minutes))).toEqual(wanted);
}

test.each([
  ["years behind", "2024-01-01T00:00:00Z", false],
  ["years ahead", "2031-01-01T00:00:00Z", false],
  ["years behind, with an unknown state,", "2024-01-01T00:00:00Z", undefined],
  ["years ahead, with an unknown state,", "2031-01-01T00:00:00Z", undefined],
])(
  "the camera publishes pictures with the right times and in the right order after a clock that was %s is set",
  async (_, shows, synchronised) => {
    const broker = await openBroker();
    const dataPath = temporaryFolder();
    await broker.close();
    const machine = new Machine("boot", shows, synchronised);
    const config = { dataPath, images: {} };
    await threePictures(broker, machine, config);
    const agent = await startOn(broker, machine, config);
    machine.set("2026-03-01T06:30:00Z");
    await agent.captureNow();
    await broker.open();
    await broker.until(() => completed(broker).length === 4);
    // The newest picture may have been sent first, as a new event.
    const minutes = minutesSince(broker, "2026-03-01T06:30:00Z");
    expectMinutes(
      minutes.filter((at) => at < -0.5),
      [-3, -2, -1],
    );
    expectMinutes(
      minutes.filter((at) => at > -0.5),
      [0],
    );
    const numbers = completed(broker).map((message) => envelopeOf(message).seq ?? 0);
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    // The stored pictures keep their names. Their sidecars tell whether the clock was set.
    const raw = readdirSync(join(dataPath, "raw"), { recursive: true, encoding: "utf8" });
    const sidecars = raw.filter((name) => name.endsWith(".json")).sort();
    const trusted = sidecars.map((name) => JSON.parse(readFileSync(join(dataPath, "raw", name), "utf8")).clock_set);
    expect(trusted.filter(Boolean)).toHaveLength(synchronised === false ? 1 : 4);
  },
);

test("the camera holds back the backlog, but not new events, until the clock is set", async () => {
  const broker = await openBroker();
  await broker.close();
  const machine = new Machine("boot", "2024-01-01T00:00:00Z", false);
  const config = { dataPath: temporaryFolder() };
  await threePictures(broker, machine, config);
  const agent = await startOn(broker, machine, config);
  await broker.open();
  await broker.until(() => broker.on(cameraTopic("about")).length > 0);
  await agent.captureNow();
  await broker.until(() => completed(broker).length > 0);
  expectMinutes(minutesSince(broker, "2024-01-01T00:00:00Z"), [3]);
  machine.set("2026-03-01T06:30:00Z");
  await broker.until(() => completed(broker).length === 4);
  expectMinutes(minutesSince(broker, "2026-03-01T06:30:00Z").slice(1), [-3, -2, -1]);
});

test("the camera neither corrects nor expires messages from an earlier boot whose clock was never set", async () => {
  const broker = await openBroker();
  const dataPath = temporaryFolder();
  await broker.close();
  const before = new Machine("first boot", "2024-01-01T00:00:00Z", false);
  await threePictures(broker, before, { dataPath, outboxHours: 48 });
  const after = new Machine("second boot", "2026-03-01T06:30:00Z", true);
  const second = await startOn(broker, after, { dataPath, outboxHours: 48 });
  await second.captureNow();
  await broker.open();
  await broker.until(() => completed(broker).length === 4);
  const year = 365 * 24 * 60;
  expectMinutes(
    minutesSince(broker, "2024-01-01T00:00:00Z").filter((at) => at < year),
    [0, 1, 2],
  );
  expectMinutes(
    minutesSince(broker, "2026-03-01T06:30:00Z").filter((at) => at > -year),
    [0],
  );
});

test("the device clock reports a jump once, and ignores small steps", () => {
  const machine = new Machine("boot", "2026-03-01T06:00:00Z", true);
  expect(machine.clock.takeJump()).toBe(0);
  machine.pass(86_400_000);
  expect(machine.clock.takeJump()).toBe(0);
  machine.set(new Date(machine.now().getTime() + 500).toISOString());
  expect(machine.clock.takeJump()).toBe(0);
  machine.set(new Date(machine.now().getTime() - 3_600_000).toISOString());
  expect(Math.round(machine.clock.takeJump() / 1000)).toBe(-3600);
  expect(machine.clock.takeJump()).toBe(0);
});

test("the device clock is trusted from the time when it is set until the next boot", () => {
  const machine = new Machine("boot", "2026-03-01T06:00:00Z", false);
  expect(machine.clock.usable).toBe(false);
  machine.set("2026-03-01T07:00:00Z");
  expect(machine.clock.usable).toBe(true);
  // The clock stays trusted, because the file of timesyncd disappears when timesyncd is stopped.
  machine.synchronised = false;
  expect(machine.clock.usable).toBe(true);
});

const mornings: Schedule = { entries: [{ kind: "clock", start: "06:00", end: "07:00", interval_s: 1 }] };

/** The last published progress of the camera. */
function progress(broker: TestBroker): { active: boolean; next_capture_at?: string | undefined } | undefined {
  const last = broker.on(stateTopic("capture")).at(-1);
  return last === undefined ? undefined : captureProgressSchema.parse(envelopeOf(last).data);
}

test.each([
  ["forward", "2024-01-01T20:00:00Z", "2026-03-01T06:30:00Z"],
  ["back", "2031-01-01T20:00:00Z", "2026-03-01T06:30:00Z"],
])(
  "the camera takes pictures once the clock is set years %s to a time in a window, and stops once it is set to another time",
  async (_, shows, time) => {
    const broker = await openBroker();
    const machine = new Machine("boot", shows, false);
    const location = { lat: 46.02, lon: 7.75, timezone: "UTC" };
    await startOn(broker, machine, { schedule: mornings, location, readingsIntervalS: 0.05 });
    await broker.until(() => progress(broker)?.active === false);
    machine.set(time);
    await broker.until(() => completed(broker).length === 2);
    expect(progress(broker)?.active).toBe(true);
    machine.set("2026-03-01T21:00:00Z");
    await broker.until(() => progress(broker)?.active === false);
    expect(progress(broker)?.next_capture_at).toBe("2026-03-02T06:00:00.000Z");
  },
);
