import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { expect, test, vi } from "vitest";
import type { CameraSettings } from "../../../contract/events.ts";
import { createGphoto2, type Gphoto2Options } from "../../../device/cameras/gphoto2.ts";
import { runProgram } from "../../../device/host/run-program.ts";
import { haveExited, jpegOf, Programs } from "../support/programs.ts";

const now = new Date();

/** The values that two cameras offer, as gphoto2 prints them. */
const CANON = {
  shutterspeed: ["bulb", "30", "1", "0.3", "1/3", "1/250", "1/4000"],
  iso: ["Auto", "100", "200", "400", "6400"],
  exposurecompensation: ["-1", "-0.6", "-0.3", "0", "0.3", "0.6", "1"],
  whitebalance: ["Auto", "Daylight", "Shadow", "Cloudy", "Tungsten", "Fluorescent", "Manual"],
};
const NIKON = {
  shutterspeed: ["0.0002s", "0.0040s", "0.3333s", "1.0000s", "30.0000s", "Bulb", "Time"],
  iso: ["100", "200", "400", "800"],
  exposurecompensation: ["-1.000", "-0.666", "-0.333", "0.000", "0.333", "0.666", "1.000"],
  whitebalance: ["Automatic", "Daylight", "Fluorescent", "Tungsten", "Flash", "Cloudy", "Shade", "Color Temperature"],
};
type Offered = Record<string, readonly string[]>;

/** Writes the picture to the path in `--filename`, where `%C` stands for the file extension. */
const DELIVER = `for arg; do case "$arg" in *%C) TARGET="\${arg%%\\%C}" ;; esac; done; cp "$HERE/picture.jpg" "\${TARGET}jpg"`;

/** A camera, and a fake gphoto2 that offers these values and runs the script for a picture. */
async function cameraWith(script = DELIVER, offered: Offered = CANON, options: Partial<Gphoto2Options> = {}) {
  const programs = new Programs();
  programs.write("picture.jpg", await jpegOf(64, 48));
  for (const [name, values] of Object.entries(offered)) {
    const choices = values.map((value, index) => `Choice: ${index} ${value}\n`).join("");
    programs.write(`${name}.config`, `Label: ${name}\nReadonly: 0\nType: RADIO\nCurrent: x\n${choices}END\n`);
  }
  programs.add(
    "gphoto2",
    `case "$*" in *--get-config*)
      for arg; do case "$arg" in -*) ;; *)
        cat "$HERE/$arg.config" 2>/dev/null || { echo "$arg not found in configuration tree." >&2; exit 1; } ;;
      esac; done; exit 0 ;;
    esac
    ${script}`,
  );
  return { programs, camera: createGphoto2({ timeoutMs: 20_000, killAfterMs: 100, ...options }) };
}

/** The settings passed to gphoto2 for the last picture. */
function assignments(programs: Programs): string[] {
  const args = programs.calls("gphoto2").at(-1) ?? [];
  return args.filter((_, index) => args[index - 1] === "--set-config-value");
}

test("the gphoto2 camera delivers the camera's file unchanged, with one call when no setting is requested", async () => {
  const { camera, programs } = await cameraWith(DELIVER, CANON, { args: ["--port=usb:001,004"] });
  const frame = await camera.capture({}, now);
  expect(frame.jpeg.equals(await jpegOf(64, 48))).toBe(true);
  expect(frame).toMatchObject({ width: 64, height: 48, settings: {} });
  const target = expect.stringMatching(/skylapse-gphoto2-\w+\/picture\.%C$/);
  expect(programs.calls("gphoto2")).toEqual([
    ["--quiet", "--port=usb:001,004", "--capture-image-and-download", "--filename", target, "--force-overwrite"],
  ]);
});

test.each<[CameraSettings, string[], string[]]>([
  [{ exposure_s: 0.004 }, ["shutterspeed=1/250"], ["shutterspeed=0.0040s"]],
  [{ exposure_s: 30 }, ["shutterspeed=30"], ["shutterspeed=30.0000s"]],
  [{ exposure_s: 1 / 3 }, ["shutterspeed=1/3"], ["shutterspeed=0.3333s"]],
  [{ iso: 200 }, ["iso=200"], ["iso=200"]],
  [{ exposure_compensation: -0.66 }, ["exposurecompensation=-0.6"], ["exposurecompensation=-0.666"]],
  [{ exposure_compensation: 1 }, ["exposurecompensation=1"], ["exposurecompensation=1.000"]],
  [{ white_balance: "auto" }, ["whitebalance=Auto"], ["whitebalance=Automatic"]],
  [{ white_balance: "fluorescent" }, ["whitebalance=Fluorescent"], ["whitebalance=Fluorescent"]],
  [
    { exposure_s: 1, iso: 400, white_balance: "cloudy" },
    ["shutterspeed=1", "iso=400", "whitebalance=Cloudy"],
    ["shutterspeed=1.0000s", "iso=400", "whitebalance=Cloudy"],
  ],
])("the gphoto2 camera sets %j with the values of each camera", async (settings, canon, nikon) => {
  for (const [offered, expected] of [
    [CANON, canon],
    [NIKON, nikon],
  ] as const) {
    const { camera, programs } = await cameraWith(DELIVER, offered);
    await camera.capture(settings, now);
    expect(assignments(programs)).toEqual(expected);
  }
});

test("the gphoto2 camera reports the settings that took effect, not the requested settings", async () => {
  const { camera } = await cameraWith();
  const { settings } = await camera.capture({ exposure_s: 0.0041, iso: 100, quality: 80, hdr: true }, now);
  expect(settings).toEqual({ exposure_s: 1 / 250, iso: 100 });
});

test.each<[CameraSettings, RegExp]>([
  [{ iso: 3200 }, /^the camera does not offer 3200 for iso, only Auto, 100, 200, 400, 6400$/],
  [{ exposure_s: 600 }, /^the camera does not offer 600 s for exposure_s, only bulb, 30, /],
  [{ exposure_compensation: 3 }, /^the camera does not offer 3 for exposure_compensation/],
])(
  "the gphoto2 camera refuses a value that the camera does not offer, and lists the offered values: %j",
  async (settings, message) => {
    const { camera, programs } = await cameraWith();
    await expect(camera.capture(settings, now)).rejects.toThrow(message);
    // gphoto2 must not be called with the refused value, because it would treat a number as a position in the list.
    expect(programs.calls("gphoto2")).toHaveLength(1);
  },
);

test("the gphoto2 camera refuses a setting that the camera lacks, or that its mode does not allow", async () => {
  const { camera: compact } = await cameraWith(DELIVER, { iso: ["100"] });
  await expect(compact.capture({ white_balance: "auto" }, now)).rejects.toThrow(
    "found a camera without one of the settings",
  );
  const { camera: automatic } = await cameraWith(DELIVER, { shutterspeed: [] });
  await expect(automatic.capture({ exposure_s: 1 }, now)).rejects.toThrow(
    "exposure_s cannot be set in the camera's present mode",
  );
});

const all = { exposure_s: null, iso: null, exposure_compensation: null, white_balance: null };

test("the gphoto2 camera sets a reset setting to automatic only once, because the camera remembers the setting", async () => {
  const { camera, programs } = await cameraWith(DELIVER, { ...CANON, shutterspeed: ["auto", ...CANON.shutterspeed] });
  const { settings } = await camera.capture(all, now);
  expect(assignments(programs)).toEqual([
    "shutterspeed=auto",
    "iso=Auto",
    "exposurecompensation=0",
    "whitebalance=Auto",
  ]);
  expect(settings).toEqual({});
  const calls = programs.calls("gphoto2").length;
  await camera.capture(all, now);
  expect(assignments(programs)).toEqual([]);
  expect(programs.calls("gphoto2")).toHaveLength(calls + 1);
  await camera.capture({ ...all, iso: 200 }, now);
  await camera.capture(all, now);
  expect(assignments(programs)).toEqual(["iso=Auto"]);
});

test("the gphoto2 camera ignores the reset of a setting that the camera lacks, or that its mode chooses automatically", async () => {
  const { camera, programs } = await cameraWith(DELIVER, { shutterspeed: [], iso: ["Auto", "100"] });
  await camera.capture(all, now);
  expect(assignments(programs)).toEqual(["iso=Auto"]);
});

test("the gphoto2 camera asks the user to turn the mode dial when the camera cannot choose a setting automatically", async () => {
  const { camera } = await cameraWith();
  await expect(camera.capture({ exposure_s: null }, now)).rejects.toThrow(
    "the camera does not choose exposure_s automatically in its present mode: turn its mode dial to automatic, or set exposure_s",
  );
});

test("the gphoto2 camera delivers the JPEG when the camera takes raw and JPEG", async () => {
  const { camera } = await cameraWith(`${DELIVER}; echo 'II*' > "\${TARGET}cr2"; echo 'II*' > "\${TARGET}arw"`);
  expect((await camera.capture({}, now)).width).toBe(64);
});

test.each([
  ['echo "*** Error: No camera found. ***" >&2; exit 1', /found no camera: is it switched on/],
  ['echo "Could not claim the USB device" >&2; exit 1', /another program uses it: on a desktop, gvfs/],
  ['echo "ERROR: Canon EOS Capture failed: Out of focus" >&2; exit 1', /set the lens to manual focus/],
  ['echo "*** Error (-1: Unspecified error) ***" >&2; exit 1', /^gphoto2 ended with 1: \*\*\* Error \(-1: /],
  ["exit 0", /^gphoto2 succeeded but delivered no picture$/],
  [`${DELIVER}; mv "\${TARGET}jpg" "\${TARGET}nef"; echo raw > "\${TARGET}nef"`, /no JPEG.*set to raw pictures\?/],
  [`${DELIVER}; head -c 200 "$HERE/picture.jpg" > "\${TARGET}jpg"`, /a JPEG without its end: 200 bytes/],
  ["head -c 70000000 /dev/zero", /wrote more than 67108864 bytes/],
])("the gphoto2 camera explains a failure and the remedy: %s", async (script, message) => {
  const { camera } = await cameraWith(script);
  await expect(camera.capture({}, now)).rejects.toThrow(message);
});

test("the gphoto2 camera explains how to install a missing program", async () => {
  new Programs();
  await expect(createGphoto2({ timeoutMs: 20_000 }).capture({}, now)).rejects.toThrow(
    "gphoto2 is not installed, or not in PATH: sudo apt install gphoto2",
  );
});

test("the tests use no camera program of the machine", async () => {
  new Programs();
  await expect(runProgram({ command: "env", args: [], timeoutMs: 20_000 })).rejects.toThrow("env is not installed");
});

test("the gphoto2 camera abandons a hanging camera, stops a running camera at once, and leaves no files behind", async () => {
  vi.stubEnv("TMPDIR", new Programs().folder);
  const script = 'echo $$ > "$HERE/pid"; exec sleep 600';
  const { camera: hanging } = await cameraWith(script, CANON, { timeoutMs: 300 });
  await expect(hanging.capture({}, now)).rejects.toThrow("gphoto2 took longer than 0.3 s and was ended");
  const { camera, programs } = await cameraWith(script);
  const capture = expect(camera.capture({}, now)).rejects.toThrow("gphoto2 was stopped");
  await expect.poll(() => programs.read("pid")).toMatch(/\n/);
  await camera.stop?.();
  await capture;
  await haveExited([Number(programs.read("pid"))]);
  expect(readdirSync(tmpdir()).filter((name) => name.startsWith("skylapse-gphoto2-"))).toEqual([]);
});
