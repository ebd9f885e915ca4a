import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { delimiter, dirname, join, resolve } from "node:path";
import type { DeviceConfig } from "./config.ts";

/** A driver needs any one of its programs. */
const PROGRAMS = {
  rpicam: { names: ["rpicam-still", "libcamera-still"], install: "sudo apt install rpicam-apps" },
  gphoto2: { names: ["gphoto2"], install: "sudo apt install gphoto2" },
} as const;

/** @returns a message for each setting that does not fit this machine */
export async function machineProblems({ camera, driver }: DeviceConfig): Promise<string[]> {
  const problems = await Promise.all([
    driver.name === "folder" ? folderProblem(driver.folder ?? "", driver.deleteTaken) : undefined,
    driver.name === "rpicam" || driver.name === "gphoto2" ? programProblem(driver.name) : undefined,
    camera.sleep?.command === undefined ? undefined : sleepProblem(camera.sleep.command),
    camera.dataPath === undefined ? undefined : dataProblem(camera.dataPath),
  ]);
  return problems.filter((problem) => problem !== undefined);
}

async function folderProblem(folder: string, deletes: boolean): Promise<string | undefined> {
  const found = await stat(folder).catch(() => undefined);
  if (found === undefined)
    return `CAMERA_FOLDER: ${folder} does not exist, or this user may not enter the folders above it: create it, or mount its disk`;
  if (!found.isDirectory())
    return `CAMERA_FOLDER: ${folder} is a file: set it to the folder that the pictures are written into`;
  if (!(await may(folder, constants.R_OK | constants.X_OK)))
    return `CAMERA_FOLDER: this user may not read ${folder}: change its permissions`;
  if (deletes && !(await may(folder, constants.W_OK)))
    return `CAMERA_FOLDER_DELETE: this user may not delete pictures in ${folder}: change its permissions, or set no`;
  return undefined;
}

async function programProblem(driver: keyof typeof PROGRAMS): Promise<string | undefined> {
  const { names, install } = PROGRAMS[driver];
  for (const name of names) if (await isProgram(name)) return undefined;
  return `CAMERA_DRIVER: ${names[0]} is not installed, or not in PATH: ${install}`;
}

async function sleepProblem(command: string): Promise<string | undefined> {
  if (await isProgram(command)) return undefined;
  return `SLEEP_COMMAND: ${JSON.stringify(command)} is not a program that this user may run: set it to a path, without arguments`;
}

/** The camera creates missing folders, so the nearest existing folder is checked. */
async function dataProblem(dataPath: string): Promise<string | undefined> {
  for (let folder = resolve(dataPath); ; folder = dirname(folder)) {
    const found = await stat(folder).catch(() => undefined);
    if (found === undefined && folder !== dirname(folder)) continue;
    if (found?.isDirectory() !== true)
      return `DATA_PATH: ${folder} is a file: set it to a folder for the camera's data`;
    if (await may(folder, constants.W_OK | constants.X_OK)) return undefined;
    return `DATA_PATH: this user may not write to ${folder}, or it is read-only: change its permissions, or set another folder`;
  }
}

async function isProgram(command: string): Promise<boolean> {
  const places = command.includes("/")
    ? [command]
    : (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, command));
  for (const place of places) {
    const found = await stat(place).catch(() => undefined);
    if (found?.isFile() === true && (await may(place, constants.X_OK))) return true;
  }
  return false;
}

async function may(path: string, mode: number): Promise<boolean> {
  return (await access(path, mode).catch(() => false)) === undefined;
}
