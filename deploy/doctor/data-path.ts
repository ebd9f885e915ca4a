import { constants, type Stats } from "node:fs";
import { access, readdir, readFile, stat, statfs } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { databasePath } from "../../platform/level/database.ts";
import { DataPathError, readSecrets } from "../config/secrets.ts";
import { reasonOf } from "../operator/error-reason.ts";
import { type Finding, ok, warn, wrong } from "./finding.ts";

const SUBJECT = "DATA_PATH";
const MIB = 1024 * 1024;
/** Below the first the store is about to stop; the second is a day of a few cameras' pictures. */
const [LEAST_FREE_MIB, LITTLE_FREE_MIB] = [64, 1024];
const [LEAST_FREE_INODES, LITTLE_FREE_INODES] = [1_000, 10_000];

/** @param uid of the user that the server runs as; undefined where users have no number */
export async function checkFolder(dataPath: string, uid = process.getuid?.()): Promise<Finding[]> {
  let folder: Stats;
  try {
    folder = await stat(dataPath);
  } catch (error) {
    if (reasonOf(error) !== "ENOENT") return [notWritable(dataPath, error)];
    const parent = await nearestFolder(resolve(dataPath));
    const problem = await access(parent, constants.W_OK | constants.X_OK).catch((error: unknown) => error);
    return [
      problem === undefined
        ? ok(SUBJECT, `${dataPath} is not there yet: the first start makes it`)
        : notWritable(dataPath, problem),
    ];
  }
  if (!folder.isDirectory()) return [wrong(SUBJECT, `${dataPath} is no folder: set DATA_PATH to one`)];
  try {
    await access(dataPath, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    return [notWritable(dataPath, error)];
  }
  return [
    folder.uid === uid || uid === undefined || uid === 0
      ? ok(SUBJECT, `${dataPath} can be written`)
      : warn(SUBJECT, `${dataPath} is another user's (uid ${folder.uid}, this is ${uid}): call this as that user`),
    ...(await checkFiles(dataPath, folder)),
    ...checkSpace(await statfs(dataPath)),
  ];
}

async function checkFiles(dataPath: string, folder: Stats): Promise<Finding[]> {
  const findings: Finding[] = [];
  const strangers: string[] = [];
  for (const name of await readdir(dataPath)) {
    const file = await stat(join(dataPath, name)).catch(() => undefined);
    if (file !== undefined && file.uid !== folder.uid) strangers.push(name);
    if (name === "secrets.json" && file !== undefined) findings.push(...checkSecrets(join(dataPath, name), file));
  }
  if (strangers.length > 0)
    findings.push(
      warn(
        SUBJECT,
        `${strangers.join(", ")} in ${dataPath} belong to another user than the folder: ` +
          `chown -R ${folder.uid} ${dataPath}, and call this command as that user`,
      ),
    );
  return findings;
}

function checkSecrets(path: string, { mode }: Stats): Finding[] {
  const findings: Finding[] = [];
  if ((mode & 0o077) !== 0)
    findings.push(wrong("secrets", `other users can read ${path}: chmod 600 ${path}, and replace what is in it`));
  try {
    readSecrets(path);
  } catch (error) {
    findings.push(wrong("secrets", error instanceof DataPathError ? error.message : unreadable(path, error)));
  }
  return findings.length > 0 ? findings : [ok("secrets", `${path} is this user's alone`)];
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
    return exists?.isDirectory() ? wrong("AUDIT_LOG", `${path} is a folder: name a file`) : ok("AUDIT_LOG", path);
  } catch (error) {
    return wrong("AUDIT_LOG", `${unreadable(path, error)}, or set AUDIT_LOG to another file`);
  }
}

/** @param disk as `statfs` says it; file systems without a fixed number of inodes say that they have none */
export function checkSpace(disk: { bavail: number; bsize: number; ffree: number; files: number }): Finding[] {
  const freeMib = Math.floor((disk.bavail * disk.bsize) / MIB);
  const what = `${freeMib} MiB are free`;
  const inodes = `${disk.ffree} inodes are free`;
  const advice = "delete what is not needed, or lower MAX_PREVIEW_BYTES and RETENTION_HOURS";
  const findings: Finding[] = [];
  if (freeMib < LEAST_FREE_MIB) findings.push(wrong("disk", `${what}: ${advice}`));
  else if (freeMib < LITTLE_FREE_MIB) findings.push(warn("disk", `${what}: ${advice}`));
  if (disk.files > 0 && disk.ffree < LEAST_FREE_INODES) findings.push(wrong("disk", `${inodes}: ${advice}`));
  else if (disk.files > 0 && disk.ffree < LITTLE_FREE_INODES) findings.push(warn("disk", `${inodes}: ${advice}`));
  return findings.length > 0 ? findings : [ok("disk", what)];
}

export interface StoreLockOptions {
  dataPath: string;
  /** Of the server. */
  url: string;
  alive: boolean;
  /** The server may be on another machine. */
  isNamed: boolean;
}

/** Whether the process that has the store open is the server that answers. Linux tells who holds which lock. */
export async function checkStoreLock({ dataPath, url, alive, isNamed }: StoreLockOptions): Promise<Finding[]> {
  const locks = await readFile("/proc/locks", "utf8").catch(() => undefined);
  if (locks === undefined) return [];
  const lock = await stat(join(databasePath(join(dataPath, "cluster")), "LOCK")).catch(() => undefined);
  const holder =
    lock === undefined ? undefined : new RegExp(`POSIX +ADVISORY +WRITE (\\d+) \\S+:${lock.ino} `).exec(locks)?.[1];
  if (holder !== undefined)
    return [
      alive
        ? ok("store", `process ${holder} has it open`)
        : wrong(
            "store",
            `process ${holder} has it open, but no server answers at ${url}: ` +
              "end that process, or say where its server is by WS_PORT or --url",
          ),
    ];
  if (!alive || isNamed) return [];
  const other = `the server at ${url} does not have ${dataPath} open`;
  return [warn("store", `${other}: say by DATA_PATH or --data-path where its data is`)];
}

function unreadable(path: string, error: unknown): string {
  return `${path} cannot be used (${reasonOf(error)}): let the user have it that the server runs as`;
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
