import { expect, test } from "vitest";
import type { WantedSettings } from "../../../contract/commands.ts";
import { createRpicam, type RpicamOptions } from "../../../device/cameras/rpicam.ts";
import { haveExited, isRunning, jpegOf, Programs } from "../support/programs.ts";

const now = new Date();

/** A camera, and a fake rpicam-still that runs the script. */
async function cameraThat(script: string, options: Partial<RpicamOptions> = {}) {
  const programs = new Programs();
  programs.write("picture.jpg", await jpegOf(64, 48));
  programs.add("rpicam-still", script);
  return { programs, camera: createRpicam({ timeoutMs: 20_000, killAfterMs: 100, ...options }) };
}

/** Resolves to the process ids that a fake program wrote, when `count` of them are written. */
async function pids(programs: Programs, count: number): Promise<number[]> {
  const noted = (): number[] => (programs.read("pids") ?? "").split("\n").filter(Boolean).map(Number);
  await expect.poll(noted).toHaveLength(count);
  return noted();
}

test("the rpicam camera delivers the program's output unchanged, with its size and settings", async () => {
  const { camera, programs } = await cameraThat('cat "$HERE/picture.jpg"');
  const frame = await camera.capture({ iso: 200 }, now);
  expect(frame.jpeg.equals(await jpegOf(64, 48))).toBe(true);
  expect(frame).toMatchObject({ width: 64, height: 48, settings: { iso: 200, quality: 93 } });
  expect(programs.calls("rpicam-still")).toHaveLength(1);
});

const always = ["--nopreview", "--encoding", "jpg", "--quality", "93", "--output", "-"];

test.each<[string, WantedSettings, string[]]>([
  ["nothing", {}, [...always, "--timeout", "2000"]],
  ["an exposure", { exposure_s: 0.004 }, [...always, "--timeout", "2000", "--shutter", "4000"]],
  ["a sensitivity", { iso: 800 }, [...always, "--timeout", "2000", "--gain", "8"]],
  ["both", { exposure_s: 30, iso: 100 }, [...always, "--immediate", "--shutter", "30000000", "--gain", "1"]],
  ["a compensation", { exposure_compensation: -1.5 }, [...always, "--timeout", "2000", "--ev", "-1.5"]],
  ["a white balance", { white_balance: "cloudy" }, [...always, "--timeout", "2000", "--awb", "cloudy"]],
  ["HDR", { hdr: true }, [...always, "--timeout", "2000", "--hdr", "auto"]],
  ["no HDR", { hdr: false }, [...always, "--timeout", "2000", "--hdr", "off"]],
  [
    "nothing after a reset",
    { exposure_s: null, iso: null, white_balance: null, hdr: null },
    [...always, "--timeout", "2000"],
  ],
  ["a quality", { quality: 70 }, [...always.slice(0, 4), "70", ...always.slice(5), "--timeout", "2000"]],
])(
  "the rpicam camera set to %s passes exactly the matching arguments and the operator's own arguments",
  async (_, settings, args) => {
    const { camera, programs } = await cameraThat('cat "$HERE/picture.jpg"', { args: ["--vflip"] });
    await camera.capture(settings, now);
    expect(programs.calls("rpicam-still")).toEqual([[...args, "--vflip"]]);
  },
);

test("the rpicam camera uses the program's older name when only that is installed", async () => {
  const programs = new Programs();
  programs.write("picture.jpg", await jpegOf());
  programs.add("libcamera-still", 'cat "$HERE/picture.jpg"');
  const frame = await createRpicam({ timeoutMs: 20_000 }).capture({}, now);
  expect(frame.width).toBe(64);
});

test("the rpicam camera explains how to install a missing program", async () => {
  new Programs();
  const camera = createRpicam({ timeoutMs: 20_000 });
  await expect(camera.capture({}, now)).rejects.toThrow(
    "rpicam-still is not installed, or not in PATH: sudo apt install rpicam-apps",
  );
});

test("the rpicam camera reports a program that may not be executed", async () => {
  const programs = new Programs();
  programs.write("rpicam-still", "no program");
  await expect(createRpicam({ timeoutMs: 20_000 }).capture({}, now)).rejects.toThrow(
    /^rpicam-still cannot be run: .*EACCES/,
  );
});

test.each([
  ["echo 'ERROR: *** no cameras available ***' >&2; exit 255", /found no camera: check the ribbon cable/],
  ["echo 'one'; echo 'ERROR: *** failed to acquire camera ***' >&2; exit 3", /^rpicam-still ended with 3: ERROR: /],
  ["echo \"unrecognised option '--hdr'\" >&2; exit 255", /^rpicam-still ended with 255: unrecognised option '--hdr'$/],
  ["exit 1", /^rpicam-still ended with 1$/],
  ["kill -SEGV $$", /^rpicam-still was ended by SIGSEGV$/],
  ["exit 0", /^rpicam-still delivered nothing$/],
  ['head -c 200 "$HERE/picture.jpg"', /^rpicam-still delivered a JPEG without its end: 200 bytes$/],
  ["echo 'II*: a raw picture'", /^rpicam-still delivered no JPEG: its first bytes are 49492a3a/],
  ["printf '\\377\\330\\377 noise \\377\\331'", /^rpicam-still delivered a damaged JPEG: it has an unknown marker/],
])("the rpicam camera reports a failure with the program's name and message: %s", async (script, message) => {
  const { camera } = await cameraThat(script);
  await expect(camera.capture({ hdr: true }, now)).rejects.toThrow(message);
});

test("the rpicam camera asks the program for English messages, whatever the machine's language", async () => {
  const { camera } = await cameraThat('echo "$LC_ALL" >&2; exit 1');
  await expect(camera.capture({}, now)).rejects.toThrow("rpicam-still ended with 1: C");
});

test("the rpicam camera ends a hanging program after the timeout, which is longer for a long exposure", async () => {
  const { camera } = await cameraThat("exec sleep 600", { timeoutMs: 300 });
  await expect(camera.capture({}, now)).rejects.toThrow("rpicam-still took longer than 0.3 s and was ended");
  await expect(camera.capture({ exposure_s: 0.1 }, now)).rejects.toThrow("took longer than 0.6 s");
});

test("the rpicam camera kills a program that ignores SIGTERM, and its children", async () => {
  const hang = "while :; do sleep 600; done";
  const script = `trap "" TERM; (${hang}) & echo "$$ $!" | tr " " "\\n" > "$HERE/pids"; ${hang}`;
  const { camera, programs } = await cameraThat(script, { timeoutMs: 3000 });
  const capture = expect(camera.capture({}, now)).rejects.toThrow("took longer than 3 s");
  const started = await pids(programs, 2);
  expect(started.every(isRunning)).toBe(true);
  await capture;
  await haveExited(started);
});

test("the rpicam camera does not wait for a child that keeps the output open after the program has exited", async () => {
  const script = 'sleep 600 & echo $! > "$HERE/pids"; cat "$HERE/picture.jpg"';
  const { camera, programs } = await cameraThat(script, { timeoutMs: 3000 });
  await expect(camera.capture({}, now)).rejects.toThrow("took longer than");
  await haveExited(await pids(programs, 1));
});

test("the rpicam camera neither waits for nor kills a child that left the process group", async () => {
  const script = 'setsid sleep 600 & echo $! > "$HERE/pids"; cat "$HERE/picture.jpg"';
  const { camera, programs } = await cameraThat(script, { timeoutMs: 4000 });
  await expect(camera.capture({}, now)).rejects.toThrow("took longer than");
  const [child = 0] = await pids(programs, 1);
  expect(isRunning(child)).toBe(true);
  process.kill(child, "SIGKILL");
});

test("the rpicam camera refuses more output than any picture has, and terminates the program", async () => {
  const { camera, programs } = await cameraThat('echo $$ > "$HERE/pids"; cat /dev/zero');
  await expect(camera.capture({}, now)).rejects.toThrow("rpicam-still wrote more than 67108864 bytes and was ended");
  await haveExited(await pids(programs, 1));
});

test("the rpicam camera releases the camera before `stop` resolves, and takes no more pictures", async () => {
  const { camera, programs } = await cameraThat('trap "" TERM; echo $$ > "$HERE/pids"; while :; do sleep 600; done');
  let taking = true;
  const capture = camera.capture({}, now).finally(() => {
    taking = false;
  });
  const failed = expect(capture).rejects.toThrow("rpicam-still was stopped");
  const started = await pids(programs, 1);
  await camera.stop?.();
  expect(taking).toBe(false);
  await failed;
  await haveExited(started);
  await expect(camera.capture({}, now)).rejects.toThrow("rpicam-still was stopped");
  expect(programs.calls("rpicam-still")).toHaveLength(1);
});
