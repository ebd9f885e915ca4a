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

/** The minutes since a moment at which pictures are said to have been taken, in the order in which they are said. */
function minutesSince(broker: TestBroker, moment: string): number[] {
  const since = Date.parse(moment);
  return completed(broker).map((message) => (Date.parse(envelopeOf(message).timestamp) - since) / MINUTE_MS);
}

/** Takes three pictures, a minute after each other, without a link, and ends: then all is on the disk. */
async function threePictures(broker: TestBroker, machine: Machine, config: Partial<CameraConfig>): Promise<void> {
  const agent = await startOn(broker, machine, config);
  for (let picture = 0; picture < 3; picture++) {
    await agent.captureNow();
    machine.pass(MINUTE_MS);
  }
  await agent.stop();
}

/** The seconds that this test itself takes are no part of what is looked at. */
function expectMinutes(found: number[], wanted: number[]): void {
  expect(found.map((minutes) => Math.round(minutes))).toEqual(wanted);
}

test.each([
  ["years behind", "2024-01-01T00:00:00Z", false],
  ["years ahead", "2031-01-01T00:00:00Z", false],
  ["years behind, where nothing tells whether it is right", "2024-01-01T00:00:00Z", undefined],
  ["years ahead, where nothing tells whether it is right", "2031-01-01T00:00:00Z", undefined],
])(
  "pictures of a clock that is %s have the right times and their order once it is set",
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
    // The newest may have gone first, as what happens now.
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
    // The pictures themselves keep their names, and say whether those are to be trusted.
    const raw = readdirSync(join(dataPath, "raw"), { recursive: true, encoding: "utf8" });
    const sidecars = raw.filter((name) => name.endsWith(".json")).sort();
    const trusted = sidecars.map((name) => JSON.parse(readFileSync(join(dataPath, "raw", name), "utf8")).clock_set);
    expect(trusted.filter(Boolean)).toHaveLength(synchronised === false ? 1 : 4);
  },
);

test("what was seen without a link waits for the clock that is about to be set, what happens now does not", async () => {
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

test("what an earlier boot noted by a clock that was never set stays as it was noted, and is not taken for too old", async () => {
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

test("a jump of the clock is told once, however small steps are forgiven", () => {
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

test("a clock is trusted from when it was set, for as long as the machine is up", () => {
  const machine = new Machine("boot", "2026-03-01T06:00:00Z", false);
  expect(machine.clock.usable).toBe(false);
  machine.set("2026-03-01T07:00:00Z");
  expect(machine.clock.usable).toBe(true);
  // Once it was right it stays so: timesyncd's word goes away with timesyncd.
  machine.synchronised = false;
  expect(machine.clock.usable).toBe(true);
});

const mornings: Schedule = { entries: [{ kind: "clock", start: "06:00", end: "07:00", interval_s: 1 }] };

/** What the camera says last of its work. */
function progress(broker: TestBroker): { active: boolean; next_capture_at?: string | undefined } | undefined {
  const last = broker.on(stateTopic("capture")).at(-1);
  return last === undefined ? undefined : captureProgressSchema.parse(envelopeOf(last).data);
}

test.each([
  ["forward", "2024-01-01T20:00:00Z", "2026-03-01T06:30:00Z"],
  ["back", "2031-01-01T20:00:00Z", "2026-03-01T06:30:00Z"],
])(
  "a clock that is set %s by years into a window begins its pictures, and one that is set out of it ends them",
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
