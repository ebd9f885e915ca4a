import { Writable } from "node:stream";
import { pino } from "pino";
import { expect, onTestFinished, test, vi } from "vitest";
import { commandReplySchema, type Schedule } from "../../../contract/commands.ts";
import { linkSchema } from "../../../contract/events.ts";
import type { CameraAgent } from "../../../device/agent.ts";
import { Sleeper, type SleeperOptions } from "../../../device/capture/sleep.ts";
import type { CameraConfig } from "../../../device/config.ts";
import {
  cameraAt,
  cameraTopic,
  commandTopic,
  envelopeOf,
  eventTopic,
  openBroker,
  plainCamera,
  replyTopic,
  silent,
} from "../support/cameras.ts";
import { Machine } from "../support/machine.ts";
import { haveExited, Programs } from "../support/programs.ts";
import type { TestBroker } from "../support/test-broker.ts";

const mornings: Schedule = { entries: [{ kind: "clock", start: "06:00", end: "07:00", interval_s: 1 }] };
const greenwich = { lat: 51.48, lon: 0, timezone: "UTC" };

async function agentOn(broker: TestBroker, machine: Machine, config: Partial<CameraConfig>): Promise<CameraAgent> {
  const agent = await cameraAt(broker, {
    clock: machine.clock,
    camera: await plainCamera(),
    config: { location: greenwich, ...config },
  });
  await broker.until(() => broker.on(cameraTopic("about")).length > 0);
  return agent;
}

const links = (broker: TestBroker) =>
  broker.on(cameraTopic("link")).map((message) => linkSchema.parse(envelopeOf(message).data));

/** Sends a command to sleep for `ms`, and waits until the camera publishes `sleeping`. @param now the sender's time */
async function sendToSleep(broker: TestBroker, machine: Machine, ms: number, now = machine.now()): Promise<string> {
  const until = new Date(now.getTime() + ms).toISOString();
  await broker.publish(commandTopic("sleep"), {
    ...{ id: "a-sleep", name: "sleep", args: { until }, issued_by: "alice" },
    ...{ issued_at: now.toISOString(), expires_at: new Date(now.getTime() + 60_000).toISOString() },
  });
  await broker.until(() => links(broker).some(({ status }) => status === "sleeping"));
  return until;
}

test("the camera sleeps through a pause of the schedule, publishes the wake-up time, and returns early with another session", async () => {
  const broker = await openBroker();
  const machine = new Machine("boot", "2026-03-01T05:59:54.500Z", true);
  const sleep = { pauseMs: 1000, minAwakeMs: 50, earlyMs: 1000, checkIntervalMs: 20 };
  const agent = await agentOn(broker, machine, { schedule: mornings, sleep });
  const session = agent.session;
  await broker.until(() => links(broker).length === 3);
  expect(links(broker)).toEqual([
    { status: "online", session },
    { status: "sleeping", session, until: "2026-03-01T05:59:59.000Z" },
    { status: "online", session: agent.session },
  ]);
  expect(agent.session).not.toBe(session);
  expect(machine.now().getTime()).toBeGreaterThanOrEqual(Date.parse("2026-03-01T05:59:59Z"));
  await broker.until(() => broker.on(eventTopic("capture.completed")).length >= 2);
  // The camera does not sleep in a window of the schedule.
  expect(links(broker)).toHaveLength(3);
});

test("the camera replies to the sleep command before it disconnects, and is back at the given time", async () => {
  const broker = await openBroker();
  const machine = new Machine("boot", "2026-03-01T12:00:00Z", true);
  const agent = await agentOn(broker, machine, {});
  const session = agent.session;
  const until = await sendToSleep(broker, machine, 4000);
  const replies = broker.on(replyTopic("sleep")).map((message) => commandReplySchema.parse(envelopeOf(message).data));
  expect(replies).toMatchObject([{ status: "accepted" }, { status: "succeeded", result: { until } }]);
  expect(links(broker).at(-1)).toEqual({ status: "sleeping", session, until });
  await expect.poll(() => broker.clients).toBe(0);
  // Without a link, the camera can still take pictures.
  await agent.captureNow();
  expect(broker.on(eventTopic("capture.completed"))).toHaveLength(0);
  await broker.until(() => links(broker).at(-1)?.status === "online");
  expect(machine.now().getTime()).toBeGreaterThanOrEqual(Date.parse(until));
  expect(agent.session).not.toBe(session);
  await broker.until(() => broker.on(eventTopic("capture.completed")).length === 1);
});

test("the camera sleeps for the time in its reply even when its clock is hours behind", async () => {
  const broker = await openBroker();
  const machine = new Machine("boot", "2026-03-01T10:00:00Z", true);
  await agentOn(broker, machine, {});
  const until = await sendToSleep(broker, machine, 3000, new Date("2026-03-01T12:00:00Z"));
  const replies = broker.on(replyTopic("sleep")).map((message) => commandReplySchema.parse(envelopeOf(message).data));
  expect(replies.at(-1)).toMatchObject({ status: "succeeded", result: { until, seconds: 3 } });
  await broker.until(() => links(broker).at(-1)?.status === "online");
});

test("the camera rejects a sleep longer than MAX_SLEEP_DAYS", async () => {
  const broker = await openBroker();
  const machine = new Machine("boot", "2026-03-01T12:00:00Z", true);
  await agentOn(broker, machine, { sleep: { pauseMs: 0, maxDays: 2 } });
  await broker.publish(commandTopic("sleep"), {
    ...{ id: "a-sleep", name: "sleep", args: { until: "2026-03-04T12:00:00.000Z" }, issued_by: "alice" },
    ...{ issued_at: "2026-03-01T12:00:00.000Z", expires_at: "2026-03-01T12:01:00.000Z" },
  });
  const reply = await broker.until(() => broker.on(replyTopic("sleep"))[0]);
  expect(envelopeOf(reply).data).toMatchObject({
    status: "rejected",
    error: "until: is 3.0 days away, but this camera may sleep for at most 2 (MAX_SLEEP_DAYS)",
  });
  expect(links(broker).map(({ status }) => status)).toEqual(["online"]);
});

test("the sleeper sleeps in parts through a pause that is longer than the longest sleep", async () => {
  const { done } = sleeperWith({
    maxDays: 2,
    plan: () => ({ active: false, next: new Date(Date.now() + 9 * 86_400_000) }),
  });
  await expect.poll(() => done.length).toBe(1);
  const until = Date.parse(done[0]?.what.replace("leave until ", "") ?? "");
  expect(Math.abs(until - Date.now() - 2 * 86_400_000)).toBeLessThan(60_000);
});

test("the sleeper measures a commanded sleep by the monotonic clock, which advances while the machine is suspended", async () => {
  vi.useFakeTimers();
  onTestFinished(() => {
    vi.useRealTimers();
  });
  const machine = { aheadMs: 0, suspendedMs: 0 };
  const now = (): Date => new Date(Date.now() + machine.aheadMs);
  const runningMs = (): number => performance.now() + machine.suspendedMs;
  const { sleeper, done } = sleeperWith({ now, runningMs, pauseMs: 0 });
  const slept = sleeper.sleep(new Date(now().getTime() + 600_000), 600_000);
  machine.aheadMs = 3_600_000;
  await vi.advanceTimersByTimeAsync(299_000);
  expect(done).toHaveLength(1);
  machine.suspendedMs = 300_000;
  await vi.advanceTimersByTimeAsync(61_000);
  await slept;
  expect(done.at(-1)?.what).toBe("come back");
});

test("the sleeper runs the sleep command with the wake-up time after the farewell", async () => {
  const programs = new Programs();
  programs.add("suspend", "exit 0");
  const broker = await openBroker();
  const machine = new Machine("boot", "2026-03-01T12:00:00Z", true);
  await agentOn(broker, machine, { sleep: { pauseMs: 0, command: "suspend" } });
  const until = await sendToSleep(broker, machine, 3000);
  await expect.poll(() => programs.calls("suspend")).toEqual([[until]]);
  await broker.until(() => links(broker).at(-1)?.status === "online");
});

test("the sleeper ends the sleep and a hanging sleep command when it is stopped, and does not connect again", async () => {
  const programs = new Programs();
  programs.add("suspend", 'echo $$ > "$HERE/pid"; exec sleep 600');
  const broker = await openBroker();
  const machine = new Machine("boot", "2026-03-01T12:00:00Z", true);
  const agent = await agentOn(broker, machine, { sleep: { pauseMs: 0, command: "suspend" } });
  await sendToSleep(broker, machine, 600_000);
  await expect.poll(() => programs.read("pid")).toMatch(/\n/);
  await agent.stop();
  await haveExited([Number(programs.read("pid"))]);
  expect(links(broker).map(({ status }) => status)).toEqual(["online", "sleeping"]);
});

/** A sleeper that by default sleeps at once, and its actions with their times in milliseconds since its start. */
function sleeperWith(changes: Partial<SleeperOptions> = {}) {
  const started = performance.now();
  const done: { what: string; ms: number }[] = [];
  const note = (what: string): void => {
    done.push({ what, ms: performance.now() - started });
  };
  const sleeper = new Sleeper({
    pauseMs: 1000,
    minAwakeMs: 0,
    earlyMs: 0,
    checkIntervalMs: 10,
    plan: () => ({ active: false, next: new Date(Date.now() + 3_600_000) }),
    waiting: () => 0,
    goOffline: async (until) => note(`leave until ${until.toISOString()}`),
    goOnline: () => note("come back"),
    now: () => new Date(),
    runningMs: () => performance.now(),
    logger: silent,
    ...changes,
  });
  onTestFinished(() => sleeper.stop());
  sleeper.start();
  return { sleeper, done };
}

/** Resolves after several checks of the sleeper. */
async function severalLooks(plan: () => void): Promise<void> {
  await expect.poll(() => vi.mocked(plan).mock.calls.length).toBeGreaterThan(5);
}

test.each([
  ["in a window of the schedule", { active: true, next: new Date(Date.now() + 3_600_000) }],
  ["in a pause that is too short", { active: false, next: new Date(Date.now() + 900) }],
  ["without anything to wake up for", { active: false, next: undefined }],
])("the sleeper stays awake %s", async (_, now) => {
  const plan = vi.fn(() => now);
  const { done } = sleeperWith({ plan });
  await severalLooks(plan);
  expect(done).toEqual([]);
});

test("the sleeper stays awake for a while, so that somebody can send a command", async () => {
  const { done } = sleeperWith({ minAwakeMs: 400 });
  await expect.poll(() => done.length).toBe(1);
  expect(done[0]?.ms).toBeGreaterThanOrEqual(400);
});

test("the sleeper stays awake while messages wait to be sent, but not for ever", async () => {
  let waiting = 1;
  const { done } = sleeperWith({ waiting: () => waiting, maxAwakeMs: 60_000 });
  const patient = sleeperWith({ waiting: () => 1, maxAwakeMs: 500 });
  await expect.poll(() => patient.done.length).toBe(1);
  expect(patient.done[0]?.ms).toBeGreaterThanOrEqual(500);
  expect(done).toEqual([]);
  waiting = 0;
  await expect.poll(() => done.length).toBe(1);
});

test.each([
  ["is not installed", undefined, 20_000, /^suspend is not installed/],
  ["fails", "echo 'no such wake-up clock' >&2; exit 3", 20_000, /^suspend ended with 3: no such wake-up clock$/],
  ["hangs", "exec sleep 600", 200, /^suspend took longer than 0.2 s/],
])("the sleeper logs a sleep command that %s, and still sleeps until the given time", async (...given) => {
  const [, script, commandTimeoutMs, reason] = given;
  const programs = new Programs();
  if (script !== undefined) programs.add("suspend", script);
  const lines: string[] = [];
  const stream = new Writable({
    write(chunk, _encoding, written) {
      lines.push(String(chunk));
      written();
    },
  });
  const { sleeper, done } = sleeperWith({
    pauseMs: 0,
    command: "suspend",
    commandTimeoutMs,
    logger: pino(stream),
  });
  const until = new Date(Date.now() + 1500);
  await sleeper.sleep(until);
  // Allows 500 ms less, because the system may adjust the wall clock during the sleep.
  expect(Date.now()).toBeGreaterThanOrEqual(until.getTime() - 500);
  expect(done.map(({ what }) => what)).toEqual([`leave until ${until.toISOString()}`, "come back"]);
  const failure = lines.map((line) => JSON.parse(line)).find(({ msg }) => msg === "sleep command failed");
  expect(failure.reason).toMatch(reason);
});

test("the sleeper ignores a clock that is set back, and wakes up when the clock is set past the end", async () => {
  vi.useFakeTimers();
  onTestFinished(() => {
    vi.useRealTimers();
  });
  const machine = { aheadMs: 0 };
  const now = (): Date => new Date(Date.now() + machine.aheadMs);
  const back = sleeperWith({ now, pauseMs: 0 });
  const slept = back.sleeper.sleep(new Date(now().getTime() + 600_000));
  machine.aheadMs = -5 * 365 * 86_400_000;
  await vi.advanceTimersByTimeAsync(599_000);
  expect(back.done).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(2000);
  await slept;
  expect(back.done.at(-1)?.what).toBe("come back");

  const ahead = sleeperWith({ now, pauseMs: 0 });
  const over = ahead.sleeper.sleep(new Date(now().getTime() + 600_000));
  machine.aheadMs = 0;
  await vi.advanceTimersByTimeAsync(61_000);
  await over;
  expect(ahead.done.at(-1)?.what).toBe("come back");
});
