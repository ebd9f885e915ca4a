import { constants, type Stats } from "node:fs";
import { access, readdir, readFile, stat, statfs } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { reasonOf } from "../../platform/error-reason.ts";
import { databasePath } from "../../platform/level/database.ts";
import { DataPathError, readSecrets } from "../config/secrets.ts";
import { type Finding, ok, warn, wrong } from "./finding.ts";

const SUBJECT = "DATA_PATH";
const MIB = 1024 * 1024;
/** Below the first limit, the stores soon fail. The second limit is about one day of pictures of a few cameras. */
const [LEAST_FREE_MIB, LITTLE_FREE_MIB] = [64, 1024];
const [LEAST_FREE_INODES, LITTLE_FREE_INODES] = [1_000, 10_000];

/** Checks `DATA_PATH`, its files, and its disk. @param uid of this user; undefined on systems without user ids */
export async function checkFolder(dataPath: string, uid = process.getuid?.()): Promise<Finding[]> {
  let folder: Stats;
  try {
    folder = await stat(dataPath);
  } catch (error) {
    if (reasonOf(error) !== "ENOENT") return [notWritable(dataPath, error)];
    const parent = await nearestFolder(resolve(dataPath));
    const problem = await access(parent, constants.W_OK | constants.X_OK).catch((error: unknown) => error);
    if (problem !== undefined) return [notWritable(dataPath, problem)];
    return [ok(SUBJECT, `${dataPath} does not exist yet: the first start creates it`)];
  }
  if (!folder.isDirectory()) return [wrong(SUBJECT, `${dataPath} is not a folder: set DATA_PATH to a folder`)];
  try {
    await access(dataPath, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    return [notWritable(dataPath, error)];
  }
  const isOwn = folder.uid === uid || uid === undefined || uid === 0;
  const foreign = `${dataPath} belongs to another user (uid ${folder.uid}, this is ${uid}): run this command as that user`;
  return [
    isOwn ? ok(SUBJECT, `${dataPath} can be written`) : warn(SUBJECT, foreign),
    ...(await checkFiles(dataPath, folder)),
    ...checkSpace(await statfs(dataPath)),
  ];
}

async function checkFiles(dataPath: string, folder: Stats): Promise<Finding[]> {
  const findings: Finding[] = [];
  const foreign: string[] = [];
  for (const name of await readdir(dataPath)) {
    const file = await stat(join(dataPath, name)).catch(() => undefined);
    if (file !== undefined && file.uid !== folder.uid) foreign.push(name);
    if (name === "secrets.json" && file !== undefined) findings.push(...checkSecrets(join(dataPath, name), file));
  }
  const problem = `${foreign.join(", ")} in ${dataPath} belong to another user than the folder`;
  const advice = `run chown -R ${folder.uid} ${dataPath}, and run this command as that user`;
  return foreign.length > 0 ? [...findings, warn(SUBJECT, `${problem}: ${advice}`)] : findings;
}

function checkSecrets(path: string, { mode }: Stats): Finding[] {
  const findings: Finding[] = [];
  const exposed = `other users can read ${path}: run chmod 600 ${path}, and replace the secrets in it`;
  if ((mode & 0o077) !== 0) findings.push(wrong("secrets", exposed));
  try {
    readSecrets(path);
  } catch (error) {
    findings.push(wrong("secrets", error instanceof DataPathError ? error.message : unreadable(path, error)));
  }
  return findings.length > 0 ? findings : [ok("secrets", `only this user can read ${path}`)];
}

/** @param path a file, or `stdout` */
export async function checkAuditLog(path: string): Promise<Finding> {
  if (path === "stdout") return ok("AUDIT_LOG", "stdout");
  try {
    const exists = await stat(path).catch((error: unknown) => {
      if (reasonOf(error) !== "ENOENT") throw error;
      return undefined;
    });
    await access(exists === undefined ? await nearestFolder(resolve(path)) : path, constants.W_OK);
    return exists?.isDirectory()
      ? wrong("AUDIT_LOG", `${path} is a folder: set AUDIT_LOG to a file`)
      : ok("AUDIT_LOG", path);
  } catch (error) {
    return wrong("AUDIT_LOG", `${unreadable(path, error)}, or set AUDIT_LOG to another file`);
  }
}

/** @param disk the result of `statfs`; `files` is 0 if the file system has no fixed number of inodes */
export function checkSpace(disk: { bavail: number; bsize: number; ffree: number; files: number }): Finding[] {
  const freeMib = Math.floor((disk.bavail * disk.bsize) / MIB);
  const what = `${freeMib} MiB are free`;
  const inodes = `${disk.ffree} inodes are free`;
  const advice = "delete files, or lower MAX_PREVIEW_BYTES and RETENTION_HOURS";
  const findings: Finding[] = [];
  if (freeMib < LEAST_FREE_MIB) findings.push(wrong("disk", `${what}: ${advice}`));
  else if (freeMib < LITTLE_FREE_MIB) findings.push(warn("disk", `${what}: ${advice}`));
  if (disk.files > 0 && disk.ffree < LEAST_FREE_INODES) findings.push(wrong("disk", `${inodes}: ${advice}`));
  else if (disk.files > 0 && disk.ffree < LITTLE_FREE_INODES) findings.push(warn("disk", `${inodes}: ${advice}`));
  return findings.length > 0 ? findings : [ok("disk", what)];
}

interface StoreLockOptions {
  dataPath: string;
  url: string;
  /** Whether a server answers at the URL. */
  alive: boolean;
  /** Whether the URL was set explicitly: the server may then be on another machine. */
  isNamed: boolean;
}

/** Compares the process that has the store open with the server that answers. Only Linux lists file locks. */
export async function checkStoreLock({ dataPath, url, alive, isNamed }: StoreLockOptions): Promise<Finding[]> {
  const locks = await readFile("/proc/locks", "utf8").catch(() => undefined);
  if (locks === undefined) return [];
  const lock = await stat(join(databasePath(join(dataPath, "cluster")), "LOCK")).catch(() => undefined);
  const holder = lock && new RegExp(`POSIX +ADVISORY +WRITE (\\d+) \\S+:${lock.ino} `).exec(locks)?.[1];
  if (holder !== undefined) {
    const text = `process ${holder} has it open`;
    const advice = "end that process, or set WS_PORT or --url to where its server is";
    return [alive ? ok("store", text) : wrong("store", `${text}, but no server answers at ${url}: ${advice}`)];
  }
  if (!alive || isNamed) return [];
  const other = `the server at ${url} does not have ${dataPath} open`;
  return [warn("store", `${other}: set DATA_PATH or --data-path to where its data is`)];
}

function unreadable(path: string, error: unknown): string {
  return `${path} cannot be read or written (${reasonOf(error)}): give it to the user that the server runs as`;
}

function notWritable(dataPath: string, error: unknown): Finding {
  const why = `${dataPath} cannot be written (${reasonOf(error)})`;
  return wrong(SUBJECT, `${why}: give it to the user that the server runs as, or set DATA_PATH to another folder`);
}

async function nearestFolder(path: string): Promise<string> {
  const parent = dirname(path);
  return parent === path || (await stat(parent).catch(() => undefined)) !== undefined
    ? parent
    : await nearestFolder(parent);
}
