import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { ConfigurationError } from "../../contract/environment.ts";
import { loadConfig } from "../../device/config.ts";

const needed = { CAMERA_ID: "north", CAMERA_SECRET: "s3cret", LOCATION_LAT: "46.02", LOCATION_LON: "7.75" };

function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    loadConfig(env);
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems;
    throw error;
  }
  return [];
}

test("an id, a secret and a place are enough", () => {
  expect(loadConfig(needed)).toEqual({
    driver: "simulated",
    logLevel: "info",
    camera: {
      id: "north",
      secret: "s3cret",
      brokerUrl: "mqtt://127.0.0.1:1883",
      topicRoot: "skylapse/v1",
      location: { lat: 46.02, lon: 7.75, timezone: "UTC" },
      captureIntervalS: 30,
      readingsIntervalS: 60,
      preview: { width: 960, maxBytes: 65_536, every: 1 },
      outboxBytes: 8_388_608,
      reconnect: { minMs: 1000, maxMs: 300_000 },
    },
  });
});

test("everything that is missing is named at once", () => {
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
  ["TOPIC_ROOT", "sky/#", /wildcard/],
  ["LOCATION_LAT", "91", /at most 90/],
  ["LOCATION_LON", "-181", /at least -180/],
  ["TIMEZONE", "Europe/Atlantis", /such as Europe\/Zurich/],
  ["CAMERA_DRIVER", "polaroid", /drivers there are: simulated, not "polaroid"/],
  ["CAPTURE_INTERVAL_S", "0.5", /at least 1 second/],
  ["PREVIEW_EVERY", "-1", /negative/],
  ["PREVIEW_MAX_BYTES", "70000", /at most 65536/],
  ["PREVIEW_WIDTH", "8", /at least 64/],
  ["OUTBOX_BYTES", "1000", /at least 262144/],
  ["RECONNECT_MAX_S", "often", /number of seconds/],
  ["LOG_LEVEL", "loud", /fatal, error, warn/],
])("%s=%s is refused by name, with what it should be", (name, value, reason) => {
  const problems = problemsOf({ ...needed, [name]: value });
  expect(problems).toHaveLength(1);
  expect(problems[0]).toMatch(new RegExp(`^${name}: `));
  expect(problems[0]).toMatch(reason);
});

test("the secret may come from a file", () => {
  const folder = mkdtempSync(join(tmpdir(), "skylapse-device-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "secret");
  writeFileSync(file, "from a file\n");
  const { CAMERA_SECRET: _, ...rest } = needed;
  expect(loadConfig({ ...rest, CAMERA_SECRET_FILE: file }).camera.secret).toBe("from a file");
});

test("a secret is never shown, however wrong", () => {
  expect(problemsOf({ ...needed, CAMERA_SECRET: "x".repeat(2000) }).join()).not.toContain("xxx");
});
