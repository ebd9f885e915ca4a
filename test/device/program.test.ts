import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { commandReplySchema } from "../../contract/commands.ts";
import { captureCompletedSchema, linkSchema } from "../../contract/events.ts";
import { ExitCode, readCommandLine } from "../../device/command-line.ts";
import { cameraTopic, commandTopic, envelopeOf, eventTopic, openBroker, replyTopic } from "./support/cameras.ts";
import { jpegOf, Programs, temporaryFolder } from "./support/programs.ts";
import type { TestBroker } from "./support/test-broker.ts";

const PROGRAM = fileURLToPath(new URL("../../dist/device/main.js", import.meta.url));

/** Starts the program. Its environment has only `env` and PATH. */
function launch(args: readonly string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    env: { PATH: process.env.PATH, LOG_LEVEL: "fatal", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const streams = { output: "", errors: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    streams.output += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    streams.errors += text;
  });
  const closed = once(child, "close");
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await closed;
  });
  return { child, streams, closed };
}

async function runToEnd(args: readonly string[], env: Record<string, string> = {}) {
  const { child, streams, closed } = launch(args, env);
  await closed;
  return { code: child.exitCode, ...streams };
}

const place = { LOCATION_LAT: "46.02", LOCATION_LON: "7.75" };
const needed = { CAMERA_ID: "north", CAMERA_SECRET: "s3cret", ...place };

const links = (broker: TestBroker) =>
  broker.on(cameraTopic("link")).map((message) => linkSchema.parse(envelopeOf(message).data));

test("the program prints the required settings and the exit codes with --help", async () => {
  const help = await runToEnd(["--help"]);
  expect(help).toMatchObject({ code: 0, errors: "" });
  for (const part of ["--config", "--check-config", "CAMERA_ID", "CAMERA_DRIVER", "78 invalid configuration"])
    expect(help.output).toContain(part);
});

test.each([
  [["--colour"], ExitCode.usage],
  [["start"], ExitCode.usage],
  [["--config"], ExitCode.usage],
  [["--version"], ExitCode.ok],
  [["-c", "camera.json"], { config: "camera.json", checkConfig: false }],
])("the program parses the command line %j as %j", (args, options) => {
  expect(readCommandLine(args)).toEqual(options);
});

test("the program exits with 78 for an invalid configuration, lists every problem, and starts nothing", async () => {
  const folder = temporaryFolder();
  const file = join(folder, "camera.json");
  writeFileSync(file, JSON.stringify({ CAMERA_ID: "North Face", TIMEZONE: "Europe/Atlantis", SHUTTER: 5 }));
  const env = { ...place, LOCATION_LAT: "91", DATA_PATH: join(folder, "data") };
  const { code, output, errors } = await runToEnd(["--config", file], env);
  expect({ code, output }).toEqual({ code: 78, output: "" });
  expect(errors.trim().split("\n")).toEqual([
    `Cannot start: SHUTTER: is not a setting of this program (in ${file})`,
    expect.stringMatching(/^Cannot start: CAMERA_ID: must be 1 to 63 of a-z/),
    "Cannot start: CAMERA_SECRET: must be set to the secret that the broker knows this camera by",
    expect.stringMatching(/^Cannot start: LOCATION_LAT: must be at most 90/),
    expect.stringMatching(/^Cannot start: TIMEZONE: must be an IANA time zone/),
  ]);
  expect(readdirSync(folder)).toEqual(["camera.json"]);
});

test("the program only confirms a valid configuration with --check-config", async () => {
  const env = { ...needed, DATA_PATH: join(temporaryFolder(), "data"), CAMERA_NAMES: "North" };
  expect(await runToEnd(["--check-config"], env)).toEqual({
    code: 0,
    output: "The configuration is valid.\n",
    errors: "Warning: CAMERA_NAMES is no setting and is ignored: did you mean CAMERA_NAME?\n",
  });
});

test("the program exits with 78 when --check-config finds a machine that does not fit the settings", async () => {
  const env = { ...needed, CAMERA_DRIVER: "folder", CAMERA_FOLDER: "/nowhere", DATA_PATH: temporaryFolder() };
  expect(await runToEnd(["--check-config"], env)).toEqual({
    ...{
      code: 78,
      output: "",
      errors: expect.stringMatching(/^Not ready to start: CAMERA_FOLDER: \/nowhere does not exist/),
    },
  });
});

test("the program exits with 1 and the reason when the data folder cannot be used", async () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "file"), "in the way");
  const { code, errors } = await runToEnd([], { ...needed, DATA_PATH: join(folder, "file", "data") });
  expect({ code, errors }).toEqual({ code: 1, errors: expect.stringMatching(/^Cannot start: .*ENOTDIR/) });
});

test("the program takes pictures with a configuration file, publishes a farewell at SIGTERM, and exits with 0", async () => {
  const broker = await openBroker();
  const programs = new Programs();
  programs.write("picture.jpg", await jpegOf(64, 48));
  programs.add("rpicam-still", 'cat "$HERE/picture.jpg"');
  const dataPath = temporaryFolder();
  const schedule = join(dataPath, "schedule.json");
  writeFileSync(
    schedule,
    JSON.stringify({ entries: [{ kind: "clock", start: "00:00", end: "00:00", interval_s: 1 }] }),
  );
  const file = join(dataPath, "camera.json");
  const settings = {
    CAMERA_ID: "not-this-one",
    CAMERA_SECRET: "s3cret",
    CAMERA_DRIVER: "rpicam",
    SCHEDULE_FILE: schedule,
  };
  writeFileSync(file, JSON.stringify({ ...settings, ...place, DATA_PATH: dataPath, BROKER_URL: broker.url }));
  const { child, streams, closed } = launch(["--config", file], { CAMERA_ID: "north" });
  const captures = () =>
    broker
      .on(eventTopic("capture.completed"))
      .map((message) => captureCompletedSchema.parse(envelopeOf(message).data).capture);
  await broker.until(() => captures().length >= 2);
  child.kill("SIGTERM");
  await closed;
  expect({ code: child.exitCode, ...streams }).toEqual({ code: 0, output: "", errors: "" });
  expect(broker.connects[0]).toMatchObject({ username: "north", password: "s3cret" });
  const [{ session } = { session: "" }] = links(broker);
  expect(links(broker)).toEqual([
    { status: "online", session },
    { status: "offline", session },
  ]);
  const stored = readdirSync(join(dataPath, "raw"), { recursive: true, encoding: "utf8" });
  expect(stored.filter((name) => name.endsWith(".jpg")).map((name) => name.slice(-30, -4))).toEqual(
    expect.arrayContaining(captures()),
  );
});

test("the program refuses to start twice with the same data, and does not disturb the first process", async () => {
  const broker = await openBroker();
  const env = { ...needed, DATA_PATH: temporaryFolder(), BROKER_URL: broker.url, CAPTURE_INTERVAL_S: "86400" };
  const { child } = launch([], env);
  await broker.until(() => links(broker).length === 1);
  const { code, errors } = await runToEnd([], env);
  expect({ code, errors }).toEqual({
    code: 1,
    errors: expect.stringMatching(/^Cannot start: .*is a second agent running/),
  });
  expect(child.exitCode).toBeNull();
  expect(links(broker)).toHaveLength(1);
});

test.each([
  // In this row, the kill comes before the preview is ready and before the reply is stored.
  ["after its picture was stored", 'cat "$HERE/picture.jpg"', "capture.completed", "succeeded"],
  [
    "while its picture was taken",
    'test -e "$HERE/again" || sleep 600; cat "$HERE/picture.jpg"',
    "capture.started",
    "failed",
  ],
] as const)(
  "the program killed %s replies to the command with the right outcome at its next start",
  async (_, script, moment, status) => {
    const broker = await openBroker();
    const programs = new Programs();
    programs.write("picture.jpg", await jpegOf(4000, 3000));
    programs.add("rpicam-still", script);
    const settings = {
      CAMERA_DRIVER: "rpicam",
      CAPTURE_INTERVAL_S: "86400",
      SCHEDULE_FILE: join(programs.folder, "none.json"),
    };
    writeFileSync(settings.SCHEDULE_FILE, '{"entries":[]}');
    const env = { ...needed, ...settings, DATA_PATH: temporaryFolder(), BROKER_URL: broker.url };
    const { child, closed } = launch([], env);
    await broker.until(() => broker.on(cameraTopic("about")).length > 0);
    const id = "a-command";
    const now = Date.now();
    await broker.publish(commandTopic("capture.now"), {
      ...{ id, name: "capture.now", args: {}, issued_by: "alice" },
      ...{ issued_at: new Date(now).toISOString(), expires_at: new Date(now + 60_000).toISOString() },
    });
    await broker.until(() => broker.on(eventTopic(moment)).length > 0);
    child.kill("SIGKILL");
    await closed;
    programs.write("again", "");
    launch([], env);
    const replies = () =>
      broker.on(replyTopic("capture.now")).map((message) => commandReplySchema.parse(envelopeOf(message).data));
    const end = await broker.until(() => replies().find((reply) => reply.status !== "accepted"));
    expect(end).toMatchObject({ command_id: id, status });
    if (status === "failed") return expect(end.error).toBe("the camera restarted before the command was finished");
    const events = broker.on(eventTopic("capture.completed")).map((message) => envelopeOf(message).data);
    expect(new Set(events.map((data) => captureCompletedSchema.parse(data).capture)).size).toBe(1);
    expect(end.result).toEqual(events[0]);
  },
);
