import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import {
  type Command,
  type CommandReply,
  commandReplySchema,
  reportedScheduleSchema,
  scheduleSchema,
} from "../../../contract/commands.ts";
import { cameraAboutSchema, captureCompletedSchema, linkSchema } from "../../../contract/events.ts";
import type { CameraDriver } from "../../../device/cameras/camera-driver.ts";
import {
  action,
  CommandRunner,
  MAX_REMEMBERED_COMMANDS,
  MAX_WAITING_COMMANDS,
} from "../../../device/commands/command-runner.ts";
import type { RememberedCommand } from "../../../device/host/camera-store.ts";
import {
  cameraAt,
  cameraTopic,
  commandTopic,
  envelopeOf,
  eventTopic,
  openBroker,
  replyTopic,
  silent,
  stateTopic,
} from "../support/cameras.ts";
import { jpegOf } from "../support/programs.ts";
import type { TestBroker } from "../support/test-broker.ts";

let commands = 0;
function command(name: string, args: Record<string, unknown> = {}, changes: Partial<Command> = {}): Command {
  return {
    id: `command-${++commands}`,
    name,
    args,
    issued_by: "alice",
    issued_at: new Date().toISOString(),
    // Some commands are created long before their test, when this file is loaded.
    expires_at: new Date(Date.now() + 600_000).toISOString(),
    ...changes,
  };
}

function repliesTo(broker: TestBroker, { id, name }: Command): CommandReply[] {
  return broker
    .on(replyTopic(name))
    .map((message) => commandReplySchema.parse(envelopeOf(message).data))
    .filter(({ command_id }) => command_id === id);
}

async function give(broker: TestBroker, given: Command): Promise<CommandReply> {
  await broker.publish(commandTopic(given.name), given);
  return broker.until(() => repliesTo(broker, given).find(({ status }) => status !== "accepted"));
}

async function cameraWithData(): Promise<string> {
  const dataPath = await mkdtemp(join(tmpdir(), "skylapse-device-"));
  onTestFinished(() => rm(dataPath, { recursive: true }));
  return dataPath;
}

async function onlineCamera(broker: TestBroker, config = {}) {
  const agent = await cameraAt(broker, { config });
  await broker.until(() => broker.on(cameraTopic("about")).length > 0);
  return agent;
}

test("the camera accepts capture.now, takes a picture and replies with the picture's data", async () => {
  const broker = await openBroker();
  await onlineCamera(broker);
  const given = command("capture.now");
  const reply = await give(broker, given);
  expect(repliesTo(broker, given).map(({ status }) => status)).toEqual(["accepted", "succeeded"]);
  const { capture } = captureCompletedSchema.parse(reply.result);
  expect(broker.on(eventTopic("capture.completed")).map((message) => envelopeOf(message).data)).toMatchObject([
    { capture },
  ]);
});

test("the camera replies again to a repeated command, without executing the command again", async () => {
  const broker = await openBroker();
  await onlineCamera(broker);
  const given = command("capture.now");
  const first = await give(broker, given);
  await broker.publish(commandTopic("capture.now"), given);
  const again = await broker.until(() => repliesTo(broker, given).filter(({ status }) => status === "succeeded")[1]);
  expect(again).toEqual(first);
  await give(broker, command("settings.set", { iso: 100 }));
  expect(broker.on(eventTopic("capture.completed"))).toHaveLength(1);
});

test.each([
  ["arguments of the wrong kind", command("settings.set", { iso: "high" }), /^iso: /],
  ["unknown arguments", command("settings.set", { zoom: 3 }), /zoom/],
  ["missing arguments", command("settings.set", {}), /must set something/],
  [
    "a schedule with an impossible time",
    command("schedule.set", { entries: [{ kind: "clock", start: "25:00", end: "26:00", interval_s: 5 }] }),
    /entries\.0\.start: must be a time of day/,
  ],
  [
    "an unknown command",
    command("self.destruct"),
    /commands are capture\.now, schedule\.set, settings\.set, preview\.send, reboot, sleep/,
  ],
  ["a name from an object's prototype", command("constructor"), /is not a command/],
  [
    "a sleep that is over",
    command("sleep", { until: "2020-01-01T00:00:00.000Z" }),
    /^until: is in the past: this camera's clock shows 20/,
  ],
  ["a sleep without an end", command("sleep"), /^until: /],
  [
    "an expired command",
    command("capture.now", {}, { expires_at: "2020-01-01T00:00:00.000Z" }),
    /^expired at 2020-\S+: this camera's clock shows 20\d\d-\S+Z$/,
  ],
])("the camera rejects %s, with the reason", async (_, given, reason) => {
  const broker = await openBroker();
  await onlineCamera(broker);
  const reply = await give(broker, given);
  expect(reply.status).toBe("rejected");
  expect(reply.error).toMatch(reason);
  expect(broker.on(eventTopic("capture.started"))).toHaveLength(0);
});

test("the camera rejects a command on the topic of another command, because permissions are checked by topic", async () => {
  const broker = await openBroker();
  await onlineCamera(broker);
  const given = command("reboot");
  await broker.publish(commandTopic("capture.now"), given);
  const reply = await broker.until(() => repliesTo(broker, { ...given, name: "capture.now" })[0]);
  expect(reply).toMatchObject({ status: "rejected", error: "the topic is for capture.now, but the command is reboot" });
});

test("the camera ignores invalid messages on the command topics", async () => {
  const broker = await openBroker();
  await onlineCamera(broker);
  for (const garbage of ["", "{", "[]", '{"id":7}', "\u0000\ufffd"])
    await broker.publish(commandTopic("capture.now"), garbage);
  expect((await give(broker, command("capture.now"))).status).toBe("succeeded");
});

test("the camera merges and publishes settings, uses the settings for the next picture, and restores them after a restart", async () => {
  const broker = await openBroker();
  const dataPath = await cameraWithData();
  const agent = await onlineCamera(broker, { dataPath });
  await give(broker, command("settings.set", { iso: 400 }));
  const reply = await give(broker, command("settings.set", { quality: 71 }));
  expect(reply.result).toEqual({ iso: 400, quality: 71 });
  await broker.until(() =>
    broker.on(stateTopic("settings")).some((message) => "quality" in Object(envelopeOf(message).data)),
  );
  expect((await agent.captureNow()).settings).toMatchObject({ iso: 400, quality: 71 });
  await agent.stop();
  const next = await onlineCamera(broker, { dataPath });
  expect((await next.captureNow()).settings).toMatchObject({ iso: 400, quality: 71 });
});

test("the camera neither publishes nor uses a setting that was reset, even after a restart", async () => {
  const broker = await openBroker();
  const dataPath = await cameraWithData();
  const agent = await onlineCamera(broker, { dataPath });
  // The simulated camera never chooses these values itself, whatever the light is when the test runs.
  const commanded = { iso: 800, exposure_s: 1.234 };
  await give(broker, command("settings.set", { ...commanded, quality: 71 }));
  expect((await agent.captureNow()).settings).toMatchObject({ ...commanded, quality: 71 });
  const reply = await give(broker, command("settings.set", { iso: null, exposure_s: "auto" }));
  expect(reply.result).toEqual({ quality: 71 });
  await broker.until(() => broker.on(stateTopic("settings")).length === 3);
  expect(envelopeOf(broker.on(stateTopic("settings"))[2] ?? expect.fail()).data).toEqual({
    ...{ quality: 71, cause: { kind: "command", command_id: reply.command_id, by: "alice" } },
  });
  const { settings } = await agent.captureNow();
  await agent.stop();
  const next = await onlineCamera(broker, { dataPath });
  for (const used of [settings, (await next.captureNow()).settings]) {
    expect(used).toMatchObject({ quality: 71 });
    expect(used?.iso).not.toBe(commanded.iso);
    expect(used?.exposure_s).not.toBe(commanded.exposure_s);
  }
});

test("the camera accepts, publishes and stores a schedule, and takes no pictures with an empty schedule", async () => {
  const broker = await openBroker();
  const dataPath = await cameraWithData();
  const agent = await onlineCamera(broker, { dataPath });
  const schedule = {
    entries: [{ kind: "solar", anchor: "golden_hour", offset_min: -10, duration_min: 80, interval_s: 30 }],
  };
  const reply = await give(broker, command("schedule.set", schedule));
  expect(reply.status).toBe("succeeded");
  const states = (): unknown[] =>
    broker.on(stateTopic("schedule")).map((message) => scheduleSchema.parse(envelopeOf(message).data));
  await broker.until(() => states().length === 2);
  expect(states()[1]).toEqual(schedule);
  const causes = () =>
    broker.on(stateTopic("schedule")).map((message) => reportedScheduleSchema.parse(envelopeOf(message).data).cause);
  expect(causes()).toEqual([{ kind: "restart" }, { kind: "command", command_id: reply.command_id, by: "alice" }]);
  // The backend uses the interval to decide whether a picture is missing.
  const intervals = (): number[] =>
    broker
      .on(cameraTopic("about"))
      .map((message) => cameraAboutSchema.parse(envelopeOf(message).data).capture_interval_s);
  await broker.until(() => intervals().at(-1) === 30);
  await agent.stop();
  // The commanded schedule overrides the configured schedule.
  await onlineCamera(broker, { dataPath, schedule: { entries: [] } });
  await broker.until(() => states().length === 3);
  expect(states()[2]).toEqual(schedule);
  expect(causes()[2]).toEqual({ kind: "restart" });
  const paused = await give(broker, command("schedule.set", { entries: [] }));
  expect(paused.result).toEqual({ next_capture_at: null });
});

test("the camera applies settings that cannot be written, and replies that the settings will not survive a restart", async () => {
  const broker = await openBroker();
  const dataPath = await cameraWithData();
  await onlineCamera(broker, { dataPath });
  // A new file is written under this name before it replaces the old file.
  await symlink("/dev/full", join(dataPath, "north.json.new"));
  const schedule = { entries: [{ kind: "clock", start: "08:00", end: "09:00", interval_s: 60 }] };
  const reply = await give(broker, command("schedule.set", schedule));
  expect(reply.status).toBe("failed");
  expect(reply.error).toMatch(/^applied, but only until the next start: .*ENOSPC/);
  await broker.until(() => broker.retained(stateTopic("schedule"))?.toString().includes("08:00") ?? false);
  await rm(join(dataPath, "north.json.new"));
  expect(await give(broker, command("schedule.set", schedule))).toMatchObject({ status: "succeeded" });
  expect(await readFile(join(dataPath, "north.json"), "utf8")).toContain("08:00");
});

test("the camera announces a reboot as `sleeping` with a wake-up time, starts another session, and replies after the restart", async () => {
  const broker = await openBroker();
  const agent = await onlineCamera(broker);
  const before = agent.session;
  const reply = await give(broker, command("reboot"));
  expect(reply).toMatchObject({ status: "succeeded", result: { session: agent.session } });
  expect(agent.session).not.toBe(before);
  const links = broker.on(cameraTopic("link")).map((message) => linkSchema.parse(envelopeOf(message).data));
  expect(links.map(({ status, session }) => ({ status, session }))).toEqual([
    { status: "online", session: before },
    { status: "sleeping", session: before },
    { status: "online", session: agent.session },
  ]);
  expect(Date.parse(links[1]?.until ?? "")).toBeGreaterThan(0);
});

test("the camera remembers replies over a restart, and replies `unknown` to a command that the restart interrupted", async () => {
  const broker = await openBroker();
  const dataPath = await cameraWithData();
  const agent = await onlineCamera(broker, { dataPath });
  const given = command("capture.now");
  const first = await give(broker, given);
  await agent.stop();
  const file = join(dataPath, "north.json");
  const state = JSON.parse(await readFile(file, "utf8"));
  state.commands.push({ name: "capture.now", reply: { command_id: "cut-short", status: "accepted" } });
  state.commands.push({ name: "reboot", reply: { command_id: "boot", status: "accepted" } });
  await writeFile(file, JSON.stringify(state));
  await onlineCamera(broker, { dataPath });
  const cut = await broker.until(() => repliesTo(broker, command("capture.now", {}, { id: "cut-short" }))[0]);
  expect(cut).toMatchObject({
    status: "unknown",
    error: expect.stringMatching(/while the command was running: .* unknown/),
  });
  expect((await broker.until(() => repliesTo(broker, command("reboot", {}, { id: "boot" }))[0])).status).toBe(
    "succeeded",
  );
  await broker.publish(commandTopic("capture.now"), given);
  const again = await broker.until(() => repliesTo(broker, given).filter(({ status }) => status === "succeeded")[1]);
  expect(again).toEqual(first);
});

interface Interrupted {
  name: string;
  progress: { args: Record<string, unknown>; begun: boolean; capture?: string };
}

/** Restarts a camera that was killed during a command. @returns its final reply to the command */
async function afterCrash(
  broker: TestBroker,
  config: { dataPath: string; images?: object },
  { name, progress }: Interrupted,
): Promise<CommandReply> {
  const file = join(config.dataPath, "north.json");
  const state = JSON.parse(await readFile(file, "utf8"));
  const id = `cut-${++commands}`;
  state.commands.push({ name, reply: { command_id: id, status: "accepted" }, progress });
  await writeFile(file, JSON.stringify(state));
  const agent = await onlineCamera(broker, config);
  const reply = await broker.until(() => repliesTo(broker, command(name, {}, { id }))[0]);
  await agent.stop();
  return reply;
}

test("after a crash, the camera replies `succeeded` if the picture was stored, otherwise `failed`", async () => {
  const broker = await openBroker();
  const config = { dataPath: await cameraWithData(), images: {} };
  const agent = await onlineCamera(broker, config);
  const taken = await give(broker, command("capture.now"));
  await agent.stop();
  const { capture } = captureCompletedSchema.parse(taken.result);
  const progress = { args: {}, begun: true };
  const interrupted = (more: object) =>
    afterCrash(broker, config, { name: "capture.now", progress: { ...progress, ...more } });
  expect(await interrupted({ capture })).toMatchObject({ status: "succeeded", result: taken.result });
  const undone = { status: "failed", error: "the camera restarted before the command was finished" };
  expect(await interrupted({ capture: "01kb0000000000000000000000" })).toMatchObject(undone);
  expect(await interrupted({})).toMatchObject(undone);
  expect(await interrupted({ begun: false })).toMatchObject({
    status: "failed",
    error: expect.stringMatching(/before the command was begun/),
  });
});

test("after a crash, the camera replies `succeeded` if the settings or the schedule were stored, otherwise `failed`", async () => {
  const broker = await openBroker();
  const config = { dataPath: await cameraWithData() };
  const agent = await onlineCamera(broker, config);
  const schedule = { entries: [{ kind: "clock", start: "08:00", end: "09:00", interval_s: 60 }] };
  await give(broker, command("settings.set", { iso: 400, quality: null }));
  await give(broker, command("schedule.set", schedule));
  await agent.stop();
  const begun = { begun: true };
  const after = (name: string, args: Record<string, unknown>) =>
    afterCrash(broker, config, { name, progress: { ...begun, args } });
  expect(await after("settings.set", { iso: 400, quality: "auto" })).toMatchObject({
    status: "succeeded",
    result: { iso: 400 },
  });
  expect(await after("settings.set", { iso: 200 })).toMatchObject({ status: "failed" });
  expect(await after("schedule.set", schedule)).toMatchObject({
    ...{ status: "succeeded", result: { next_capture_at: expect.any(String) } },
  });
  expect(await after("schedule.set", { entries: [] })).toMatchObject({ status: "failed" });
  expect(await after("preview.send", {})).toMatchObject({ status: "unknown" });
});

test("the camera stores a command before the execution, and deletes the arguments after the execution", async () => {
  const broker = await openBroker();
  const dataPath = await cameraWithData();
  const jpeg = await jpegOf(64, 48);
  const read = async () => JSON.parse(await readFile(join(dataPath, "north.json"), "utf8")).commands;
  const seen: unknown[] = [];
  const camera: CameraDriver = {
    about: { model: "Stand-in", firmware: "1" },
    capture: async () => {
      seen.push(...(await read()));
      return { jpeg, width: 64, height: 48, settings: {} };
    },
  };
  const agent = await cameraAt(broker, { camera, config: { dataPath } });
  const given = command("capture.now");
  await broker.until(() => broker.on(cameraTopic("about")).length > 0);
  const { capture } = captureCompletedSchema.parse((await give(broker, given)).result);
  const accepted = { command_id: given.id, status: "accepted" };
  expect(seen).toEqual([{ name: "capture.now", reply: accepted, progress: { args: {}, begun: true, capture } }]);
  await agent.stop();
  expect(await read()).toEqual([{ name: "capture.now", reply: expect.objectContaining({ status: "succeeded" }) }]);
});

test("the camera moves a damaged file aside and uses the defaults", async () => {
  const broker = await openBroker();
  const dataPath = await cameraWithData();
  await writeFile(join(dataPath, "north.json"), '{"settings":{"iso":');
  await onlineCamera(broker, { dataPath });
  expect(await readFile(join(dataPath, "north.json.damaged"), "utf8")).toBe('{"settings":{"iso":');
});

interface SlowRunner {
  runner: CommandRunner;
  replies: CommandReply[];
  finish: () => void;
  ran: () => number;
  remembered: () => readonly RememberedCommand[];
}

/** A runner whose `capture.now` finishes when the test says so. */
function slowRunner(): SlowRunner {
  const replies: CommandReply[] = [];
  const ends: (() => void)[] = [];
  let ran = 0;
  let finished = false;
  let stored: readonly RememberedCommand[] = [];
  const slow = action(scheduleSchema.partial(), () => {
    ran++;
    return finished ? Promise.resolve() : new Promise<void>((resolve) => ends.push(resolve));
  });
  const runner = new CommandRunner({
    actions: {
      "capture.now": slow,
      "schedule.set": slow,
      "settings.set": slow,
      "preview.send": slow,
      reboot: slow,
      sleep: slow,
    },
    reply: (_, reply) => replies.push(reply),
    onRemembered: (list) => {
      stored = list;
    },
    now: () => new Date(),
    logger: silent,
  });
  const finish = (): void => {
    finished = true;
    for (const end of ends) end();
  };
  return { runner, replies, finish, ran: () => ran, remembered: () => stored };
}

function receive(runner: CommandRunner, given: Command): void {
  runner.receive(given.name, Buffer.from(JSON.stringify(given)));
}

test("the runner replies `accepted` to a repeated command that is still running", async () => {
  const { runner, replies, finish, ran } = slowRunner();
  const given = command("capture.now");
  receive(runner, given);
  receive(runner, given);
  expect(replies.map(({ status }) => status)).toEqual(["accepted", "accepted"]);
  finish();
  await runner.idle();
  expect(ran()).toBe(1);
});

test(`the runner lets ${MAX_WAITING_COMMANDS} commands wait for the running command, and rejects the next command as busy`, async () => {
  const { runner, replies, finish } = slowRunner();
  for (let index = 0; index < MAX_WAITING_COMMANDS + 2; index++) receive(runner, command("capture.now"));
  expect(replies.filter(({ status }) => status === "accepted")).toHaveLength(MAX_WAITING_COMMANDS + 1);
  expect(replies.at(-1)).toMatchObject({ status: "rejected", error: /busy/ });
  finish();
  await runner.idle();
});

test(`the runner remembers the last ${MAX_REMEMBERED_COMMANDS} commands, and deletes older commands`, async () => {
  const { runner, finish, ran, remembered } = slowRunner();
  finish();
  const first = command("capture.now");
  receive(runner, first);
  await runner.idle();
  for (let index = 0; index < MAX_REMEMBERED_COMMANDS; index++) {
    receive(runner, command("capture.now"));
    await runner.idle();
  }
  expect(remembered()).toHaveLength(MAX_REMEMBERED_COMMANDS);
  receive(runner, first);
  await runner.idle();
  expect(ran()).toBe(MAX_REMEMBERED_COMMANDS + 2);
});
