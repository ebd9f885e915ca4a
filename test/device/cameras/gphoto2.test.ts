import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { expect, test, vi } from "vitest";
import type { CameraSettings } from "../../../contract/events.ts";
import { createGphoto2, type Gphoto2Options } from "../../../device/cameras/gphoto2.ts";
import { runProgram } from "../../../device/host/run-program.ts";
import { gone, jpegOf, Programs } from "../support/programs.ts";

const now = new Date();

/** What a camera offers, as gphoto2 prints it. */
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

/** `--filename` is the word before the last: the picture goes where it points, with its ending for `%C`. */
const DELIVER = `for arg; do case "$arg" in *%C) TARGET="\${arg%%\\%C}" ;; esac; done; cp "$HERE/picture.jpg" "\${TARGET}jpg"`;

/** A camera, and a stand-in for gphoto2 that offers these values and does what the script says for a picture. */
async function cameraThat(script = DELIVER, offered: Offered = CANON, options: Partial<Gphoto2Options> = {}) {
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

/** What the camera was set to for the last picture. */
function assignments(programs: Programs): string[] {
  const args = programs.calls("gphoto2").at(-1) ?? [];
  return args.filter((_, index) => args[index - 1] === "--set-config-value");
}

test("a picture comes out as the camera wrote it, by one call when nothing is to be set", async () => {
  const { camera, programs } = await cameraThat(DELIVER, CANON, { args: ["--port=usb:001,004"] });
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
])("%j is set in the words of each camera", async (settings, canon, nikon) => {
  for (const [offered, expected] of [
    [CANON, canon],
    [NIKON, nikon],
  ] as const) {
    const { camera, programs } = await cameraThat(DELIVER, offered);
    await camera.capture(settings, now);
    expect(assignments(programs)).toEqual(expected);
  }
});

test("the picture is said to be taken with what was really set, not with what was asked for", async () => {
  const { camera } = await cameraThat();
  const { settings } = await camera.capture({ exposure_s: 0.0041, iso: 100, quality: 80, hdr: true }, now);
  expect(settings).toEqual({ exposure_s: 1 / 250, iso: 100 });
});

test.each<[CameraSettings, RegExp]>([
  [{ iso: 3200 }, /^the camera does not offer 3200 as iso, but Auto, 100, 200, 400, 6400$/],
  [{ exposure_s: 600 }, /^the camera does not offer 600 s as exposure_s, but bulb, 30, /],
  [{ exposure_compensation: 3 }, /^the camera does not offer 3 as exposure_compensation/],
])("what a camera does not offer is refused with what it does: %j", async (settings, message) => {
  const { camera, programs } = await cameraThat();
  await expect(camera.capture(settings, now)).rejects.toThrow(message);
  // No number may be taken for a place in the list.
  expect(programs.calls("gphoto2")).toHaveLength(1);
});

test("a setting that a camera does not know, or not in its mode, is said to be", async () => {
  const { camera: compact } = await cameraThat(DELIVER, { iso: ["100"] });
  await expect(compact.capture({ white_balance: "auto" }, now)).rejects.toThrow("lacks one of the settings");
  const { camera: automatic } = await cameraThat(DELIVER, { shutterspeed: [] });
  await expect(automatic.capture({ exposure_s: 1 }, now)).rejects.toThrow(
    "the camera does not let exposure_s be set in its present mode",
  );
});

const all = { exposure_s: null, iso: null, exposure_compensation: null, white_balance: null };

test("settings that were taken back are set to automatic, once, for the camera keeps what it was set to", async () => {
  const { camera, programs } = await cameraThat(DELIVER, { ...CANON, shutterspeed: ["auto", ...CANON.shutterspeed] });
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

test("a setting that the camera lacks, or chooses by itself in its mode, needs no taking back", async () => {
  const { camera, programs } = await cameraThat(DELIVER, { shutterspeed: [], iso: ["Auto", "100"] });
  await camera.capture(all, now);
  expect(assignments(programs)).toEqual(["iso=Auto"]);
});

test("a camera that does not choose a setting by itself is said to need its mode dial turned", async () => {
  const { camera } = await cameraThat();
  await expect(camera.capture({ exposure_s: null }, now)).rejects.toThrow(
    "the camera does not choose exposure_s by itself in its present mode: turn its mode dial to automatic, or set exposure_s",
  );
});

test("of a camera that delivers raw and JPEG the JPEG is taken", async () => {
  const { camera } = await cameraThat(`${DELIVER}; echo 'II*' > "\${TARGET}cr2"; echo 'II*' > "\${TARGET}arw"`);
  expect((await camera.capture({}, now)).width).toBe(64);
});

test.each([
  ['echo "*** Error: No camera found. ***" >&2; exit 1', /found no camera: is it switched on/],
  ['echo "Could not claim the USB device" >&2; exit 1', /another program has it: on a desktop, gvfs/],
  ['echo "ERROR: Canon EOS Capture failed: Out of focus" >&2; exit 1', /set the lens to manual focus/],
  ['echo "*** Error (-1: Unspecified error) ***" >&2; exit 1', /^gphoto2 ended with 1: \*\*\* Error \(-1: /],
  ["exit 0", /^gphoto2 ended well but delivered no picture$/],
  [`${DELIVER}; mv "\${TARGET}jpg" "\${TARGET}nef"; echo raw > "\${TARGET}nef"`, /no JPEG.*set to raw pictures\?/],
  [`${DELIVER}; head -c 200 "$HERE/picture.jpg" > "\${TARGET}jpg"`, /a JPEG without its end: 200 bytes/],
  ["head -c 70000000 /dev/zero", /wrote more than 67108864 bytes/],
])("what goes wrong is said with what to do: %s", async (script, message) => {
  const { camera } = await cameraThat(script);
  await expect(camera.capture({}, now)).rejects.toThrow(message);
});

test("a program that is not installed is said to be, with what to do", async () => {
  new Programs();
  await expect(createGphoto2({ timeoutMs: 20_000 }).capture({}, now)).rejects.toThrow(
    "gphoto2 is not installed, or not in PATH: sudo apt install gphoto2",
  );
});

test("what is installed on the machine does not take part in a test", async () => {
  new Programs();
  await expect(runProgram({ command: "env", args: [], timeoutMs: 20_000 })).rejects.toThrow("env is not installed");
});

test("a camera that hangs is given up, and one that is stopped lets go at once; neither leaves files behind", async () => {
  vi.stubEnv("TMPDIR", new Programs().folder);
  const script = 'echo $$ > "$HERE/pid"; exec sleep 600';
  const { camera: hanging } = await cameraThat(script, CANON, { timeoutMs: 300 });
  await expect(hanging.capture({}, now)).rejects.toThrow("gphoto2 took longer than 0.3 s and was ended");
  const { camera, programs } = await cameraThat(script);
  const capture = expect(camera.capture({}, now)).rejects.toThrow("gphoto2 was stopped");
  await expect.poll(() => programs.read("pid"), { timeout: 20_000 }).toMatch(/\n/);
  await camera.stop?.();
  await capture;
  await gone([Number(programs.read("pid"))]);
  expect(readdirSync(tmpdir()).filter((name) => name.startsWith("skylapse-gphoto2-"))).toEqual([]);
});
