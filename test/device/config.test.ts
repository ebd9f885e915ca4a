import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { loadConfig, misspeltVariables } from "../../device/config.ts";
import { ConfigurationError } from "../../platform/config.ts";

const needed = { CAMERA_ID: "north", CAMERA_SECRET: "s3cret", LOCATION_LAT: "46.02", LOCATION_LON: "7.75" };

function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    loadConfig({ env });
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems;
    throw error;
  }
  return [];
}

test("the configuration needs only an id, a secret and a location", () => {
  expect(loadConfig({ env: needed })).toEqual({
    driver: { name: "simulated", timeoutMs: 60_000, args: [], depth: 6, deleteTaken: false },
    logLevel: "info",
    camera: {
      id: "north",
      secret: "s3cret",
      brokerUrl: "mqtt://127.0.0.1:1883",
      topicRoot: "skylapse/v1",
      location: { lat: 46.02, lon: 7.75, timezone: "UTC" },
      captureIntervalS: 30,
      readingsIntervalS: 60,
      readingsMaxAgeS: 1800,
      keepaliveS: 60,
      preview: { width: 480, maxBytes: 8192, every: 1, onDemand: true },
      dataPath: "./data",
      outboxBytes: 536_870_912,
      outboxHours: 48,
      reconnect: { minMs: 1000, maxMs: 300_000 },
      watchHost: false,
      alerts: { temperatureC: 80 },
      sleep: { pauseMs: 0, maxDays: 7 },
    },
  });
});

test("the configuration limits the levels of sub-folders that are searched", () => {
  expect(loadConfig({ env: { ...needed, CAMERA_FOLDER_DEPTH: "0" } }).driver.depth).toBe(0);
  expect(problemsOf({ ...needed, CAMERA_FOLDER_DEPTH: "21" })).toEqual([
    'CAMERA_FOLDER_DEPTH: must be at most 20 levels, not "21"',
  ]);
});

test("the configuration names all missing settings at once", () => {
  expect(problemsOf({})).toEqual([
    "CAMERA_ID: must be set to the camera's id",
    "CAMERA_SECRET: must be set to the secret that the broker knows this camera by",
    "LOCATION_LAT: must be the camera's latitude in degrees",
    "LOCATION_LON: must be the camera's longitude in degrees",
  ]);
});

test.each([
  ["CAMERA_ID", "North Face", /1 to 63 of a-z/],
  ["BROKER_URL", "localhost:1883", /mqtt:\/\//],
  ["BROKER_URL", "http://127.0.0.1", /mqtt:\/\//],
  ["BROKER_URL", "mqtt://", /mqtt:\/\//],
  ["BROKER_URL", "mqtt:/127.0.0.1", /mqtt:\/\//],
  ["BROKER_URL", "mqtt://north:s3cret@127.0.0.1", /no user and password.*\/\/…@127/],
  ["LOCATION_LAT", " ", /degrees/],
  ["TOPIC_ROOT", "sky/#", /wildcard/],
  ["LOCATION_LAT", "91", /at most 90/],
  ["LOCATION_LON", "-181", /at least -180/],
  ["TIMEZONE", "Europe/Atlantis", /such as Europe\/Zurich/],
  ["CAMERA_DRIVER", "polaroid", /drivers there are: simulated, rpicam, gphoto2, folder, not "polaroid"/],
  ["CAPTURE_INTERVAL_S", "0.5", /at least 1 second/],
  ["PREVIEW_BUDGET", "every:0", /off, on-demand, all, or every:N/],
  ["CAMERA_TIMEOUT_S", "soon", /number of seconds/],
  ["CAMERA_FOLDER_DELETE", "perhaps", /yes or no/],
  ["KEEP_PICTURES", "some", /yes or no/],
  ["KEEP_FREE_PERCENT", "100", /at most 99/],
  ["DISK_ALERT_PERCENT", "-1", /at least 0/],
  ["TEMPERATURE_ALERT_C", "hot", /temperature/],
  ["OUTBOX_HOURS", "0", /at least 1 hour/],
  ["SLEEP_PAUSE_MINUTES", "1", /0, or at least 5/],
  ["SCHEDULE_FILE", "/nowhere/schedule.json", /cannot read/],
  ["PREVIEW_MAX_BYTES", "70000", /at most 65536/],
  ["KEEPALIVE_S", "4", /at least 5 seconds/],
  ["KEEPALIVE_S", "1201", /at most 1200 seconds/],
  ["READINGS_MAX_AGE_S", "0", /at least 1 second/],
  ["PREVIEW_WIDTH", "8", /at least 64/],
  ["OUTBOX_BYTES", "1000", /at least 262144/],
  ["RECONNECT_MAX_S", "often", /number of seconds/],
  ["LOG_LEVEL", "loud", /fatal, error, warn/],
])("the configuration refuses %s=%s by name and describes a valid value", (name, value, reason) => {
  const problems = problemsOf({ ...needed, [name]: value });
  expect(problems).toHaveLength(1);
  expect(problems[0]).toMatch(new RegExp(`^${name}: `));
  expect(problems[0]).toMatch(reason);
});

test("the configuration reads the secret from a file", () => {
  const folder = mkdtempSync(join(tmpdir(), "skylapse-device-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "secret");
  writeFileSync(file, "from a file\n");
  const { CAMERA_SECRET: _, ...rest } = needed;
  expect(loadConfig({ env: { ...rest, CAMERA_SECRET_FILE: file } }).camera.secret).toBe("from a file");
});

test("the configuration never shows a secret, not even an invalid secret", () => {
  expect(problemsOf({ ...needed, CAMERA_SECRET: "x".repeat(2000) }).join()).not.toContain("xxx");
});

test("the configuration names a secret's file that is empty", () => {
  const { CAMERA_SECRET: _, ...rest } = needed;
  expect(problemsOf({ ...rest, CAMERA_SECRET_FILE: file("\n") })).toContainEqual(
    expect.stringMatching(/^CAMERA_SECRET_FILE: .* is empty/),
  );
});

function file(content: string): string {
  const folder = mkdtempSync(join(tmpdir(), "skylapse-device-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "camera.json");
  writeFileSync(path, content);
  return path;
}

test.each([
  ["off", { every: 0, onDemand: false }],
  ["on-demand", { every: 0, onDemand: true }],
  ["all", { every: 1, onDemand: true }],
  ["every:12", { every: 12, onDemand: true }],
])("the configuration reads the preview budget %s", (text, preview) => {
  expect(loadConfig({ env: { ...needed, PREVIEW_BUDGET: text } }).camera.preview).toMatchObject(preview);
});

test("the configuration reads settings from a file, but the environment takes precedence", () => {
  const { CAMERA_SECRET: _, ...rest } = needed;
  const path = file(JSON.stringify({ ...rest, CAMERA_SECRET: "in the file", LOCATION_LAT: 12.5, KEEP_PICTURES: true }));
  const { camera } = loadConfig({ file: path, env: { CAMERA_ID: "south", LOCATION_LAT: "" } });
  expect(camera).toMatchObject({ id: "south", secret: "in the file", location: { lat: 12.5 }, images: {} });
  const secretFile = file("in a file of its own");
  expect(loadConfig({ file: path, env: { CAMERA_SECRET_FILE: secretFile } }).camera.secret).toBe(
    "in a file of its own",
  );
});

test("the configuration reports all problems of file, environment and schedule at once, by name", () => {
  const schedule = file(
    JSON.stringify({
      entries: [
        { kind: "solar", anchor: "sunrise", when: "evening", offset_min: 0, duration_min: 60, interval_s: 30 },
        { kind: "clock", start: "6:30", end: "08:00", days: [0], interval_s: 0 },
      ],
    }),
  );
  const path = file(
    JSON.stringify({ ...needed, CAMERA_DRIVER: "folder", SCHEDULE_FILE: schedule, CAPTURE_INTERVAL: 5, TIMEZONE: [] }),
  );
  let problems: readonly string[] = [];
  try {
    loadConfig({ file: path, env: {} });
  } catch (error) {
    if (error instanceof ConfigurationError) problems = error.problems;
  }
  expect(problems).toEqual([
    `CAPTURE_INTERVAL: is not a setting of this program (did you mean "CAPTURE_INTERVAL_S"?) (in ${path})`,
    `TIMEZONE: must be a text, a number, true or false (in ${path})`,
    "CAMERA_FOLDER: must be set to the folder that the pictures are written into",
    "SCHEDULE_FILE: entries.0.when: is valid for golden_hour and blue_hour only: a day has one sunrise and one sunset",
    "SCHEDULE_FILE: entries.1.start: must be a time of day such as 06:30",
    expect.stringMatching(/^SCHEDULE_FILE: entries\.1\.days\.0: /),
    expect.stringMatching(/^SCHEDULE_FILE: entries\.1\.interval_s: /),
  ]);
});

test.each([
  ["{", /^--config: .* is not valid JSON: see line 1, column 2$/],
  ["[]", /--config: .* must hold a JSON object/],
])("the configuration refuses a configuration file that holds %s", (content, reason) => {
  expect(() => loadConfig({ file: file(content), env: needed })).toThrow(reason);
});

test("the configuration reports the position of an error in a file of settings without quoting the file", () => {
  const path = file('{\r\n  "CAMERA_SECRET": "s3cret-word",\r\n  "CAMERA_ID": north\r\n}\r\n');
  expect(() => loadConfig({ file: path, env: {} })).toThrow(
    `--config: ${path} is not valid JSON: see line 3, column 16`,
  );
  const cut = file('{"CAMERA_SECRET": "s3cret-word');
  expect(() => loadConfig({ file: cut, env: {} })).toThrow(/^--config: \S+ is not valid JSON: see line 1, column 19$/m);
});

test("the configuration reads settings and a schedule with a byte order mark and CR line ends", () => {
  const entry = { kind: "clock", start: "06:00", end: "07:00", interval_s: 30 };
  const windows = (content: object) =>
    file(`\ufeff${JSON.stringify(content, undefined, 2).replaceAll("\n", "\r\n")}\r\n`);
  const schedule = windows({ entries: [entry] });
  const { camera } = loadConfig({ file: windows({ ...needed, SCHEDULE_FILE: schedule }), env: {} });
  expect(camera).toMatchObject({ id: "north", schedule: { entries: [entry] } });
});

test("the configuration names an unknown member of a schedule and the probably intended member, and escapes invisible characters", () => {
  const clock = { kind: "clock", start: "06:00", end: "07:00", interval_s: 30 };
  const schedule = file(
    JSON.stringify({
      entries: [
        { ...clock, dayz: [1] },
        { ...clock, "days\u200b": [1] },
      ],
      entrys: [],
    }),
  );
  expect(problemsOf({ ...needed, SCHEDULE_FILE: schedule })).toEqual([
    'SCHEDULE_FILE: entries.0: "dayz" is not known here (did you mean "days"?)',
    'SCHEDULE_FILE: entries.1: "days\\u200b" is not known here (did you mean "days"?)',
    'SCHEDULE_FILE: "entrys" is not known here (did you mean "entries"?)',
  ]);
  const path = file(JSON.stringify({ ...needed, "CAMERA_NAME\u202e": "x" }));
  expect(() => loadConfig({ file: path, env: {} })).toThrow(/^CAMERA_NAME\\u202e: is not a setting.*"CAMERA_NAME"\?/m);
});

test("the configuration reports a variable that differs from a setting by one or two letters, but no variable of another program", () => {
  const env = {
    ...needed,
    CAMERA_FOLDR: "/card",
    CAPTURE_INTERVALS_S: "5",
    HOME: "/root",
    CAMERA: "x",
    DATA_PATHS: "",
  };
  expect(misspeltVariables(env)).toEqual([
    "CAMERA_FOLDR is no setting and is ignored: did you mean CAMERA_FOLDER?",
    "CAPTURE_INTERVALS_S is no setting and is ignored: did you mean CAPTURE_INTERVAL_S?",
  ]);
});

test("the configuration reads MAX_SLEEP_DAYS=0 as no limit", () => {
  expect(loadConfig({ env: { ...needed, MAX_SLEEP_DAYS: "0" } }).camera.sleep?.maxDays).toBe(Number.POSITIVE_INFINITY);
});
