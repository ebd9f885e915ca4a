import { chmodSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadConfig } from "../../device/config.ts";
import { machineProblems } from "../../device/machine-check.ts";
import { Programs, temporaryFolder } from "./support/programs.ts";

const needed = { CAMERA_ID: "north", CAMERA_SECRET: "s3cret", LOCATION_LAT: "46.02", LOCATION_LON: "7.75" };

function problems(env: Record<string, string>): Promise<string[]> {
  return machineProblems(loadConfig({ env: { ...needed, ...env } }));
}

test("the machine check finds no problem on a machine that fits the settings, and changes nothing", async () => {
  const programs = new Programs();
  programs.add("gphoto2", "exit 0");
  programs.add("suspend", "exit 0");
  const folder = temporaryFolder();
  const data = join(folder, "data", "of", "the", "camera");
  expect(await problems({ CAMERA_DRIVER: "gphoto2", SLEEP_COMMAND: "suspend", DATA_PATH: data })).toEqual([]);
  const driver = { CAMERA_DRIVER: "folder", CAMERA_FOLDER: folder, CAMERA_FOLDER_DELETE: "yes" };
  const command = join(programs.folder, "suspend");
  expect(await problems({ ...driver, SLEEP_COMMAND: command, DATA_PATH: data })).toEqual([]);
  expect(readdirSync(folder)).toEqual([]);
});

test("the machine check reports a picture folder that does not exist or is a file", async () => {
  const folder = temporaryFolder();
  const check = (path: string) => problems({ CAMERA_DRIVER: "folder", CAMERA_FOLDER: path, DATA_PATH: folder });
  expect(await check(join(folder, "card"))).toEqual([
    expect.stringMatching(/^CAMERA_FOLDER: \S+\/card does not exist, or .*: create it, or mount its disk$/),
  ]);
  writeFileSync(join(folder, "card"), "");
  expect(await check(join(folder, "card"))).toEqual([expect.stringMatching(/^CAMERA_FOLDER: \S+\/card is a file/)]);
});

test.each([
  ["rpicam", "CAMERA_DRIVER: rpicam-still is not installed, or not in PATH: sudo apt install rpicam-apps"],
  ["gphoto2", "CAMERA_DRIVER: gphoto2 is not installed, or not in PATH: sudo apt install gphoto2"],
])("the machine check reports the missing program of the driver %s", async (driver, problem) => {
  new Programs();
  expect(await problems({ CAMERA_DRIVER: driver, DATA_PATH: temporaryFolder() })).toEqual([problem]);
});

test("the machine check accepts the older name of rpicam-still", async () => {
  new Programs().add("libcamera-still", "exit 0");
  expect(await problems({ CAMERA_DRIVER: "rpicam", DATA_PATH: temporaryFolder() })).toEqual([]);
});

test("the machine check reports a sleep command that does not exist, is no program, or has arguments", async () => {
  const { folder } = new Programs();
  writeFileSync(join(folder, "notes"), "not a program");
  chmodSync(join(folder, "notes"), 0o644);
  mkdirSync(join(folder, "folder"));
  for (const command of ["suspend", join(folder, "notes"), join(folder, "folder"), "sleep 5"])
    expect(await problems({ SLEEP_COMMAND: command, DATA_PATH: folder })).toEqual([
      `SLEEP_COMMAND: ${JSON.stringify(command)} is not a program that this user may run: set it to a path, without arguments`,
    ]);
});

test("the machine check reports a data folder that is below a file or that this user may not write to", async () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "file"), "in the way");
  expect(await problems({ DATA_PATH: join(folder, "file", "data") })).toEqual([
    `DATA_PATH: ${join(folder, "file")} is a file: set it to a folder for the camera's data`,
  ]);
  if (process.getuid?.() === 0) return;
  // Root may write anywhere.
  chmodSync(folder, 0o555);
  expect(await problems({ DATA_PATH: join(folder, "data") })).toEqual([
    expect.stringMatching(/^DATA_PATH: this user may not write to/),
  ]);
});
