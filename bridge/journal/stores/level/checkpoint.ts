import { randomBytes } from "node:crypto";
import { readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

/**
 * The checkpoint: a small file beside the store with the newest position of the journal. It is written about once a
 * second without sync, so it may be behind the store. A store that is behind the checkpoint has lost entries that
 * clients have received.
 */
const checkpointSchema = z.object({
  epoch: z.string(),
  /** A durable position. */
  head: z.number().int().nonnegative(),
  /** The journal was closed, and all of it was synced. */
  closed: z.boolean(),
  /** Entries were acknowledged only once they were synced. */
  sync: z.boolean(),
  /** The machine's boot id. Unsynced writes survive the end of the process, but not a crash of the machine. */
  boot: z.string().optional(),
  /** The id and the ctime of the run file, as this run wrote it. Missing in checkpoints of earlier versions. */
  run: z.object({ id: z.string(), changedAtMs: z.number() }).optional(),
  /** The id of the run file that is about to be written. */
  nextRun: z.string().optional(),
});

export type Checkpoint = z.infer<typeof checkpointSchema>;

const FILE = "mark.json";
/**
 * The run file gets a new random id at each start. The file system records the time of that write as `ctime`, which no
 * program can set. So a copy of the folder, made by any tool, has another `ctime`.
 */
const RUN_FILE = "run";
/** `skylapse restore` creates this file: the journal is a copy, whatever the other files say. */
const RESTORED_FILE = "restored";

/** @returns undefined when the checkpoint is missing or unreadable */
export async function readCheckpoint(path: string): Promise<Checkpoint | undefined> {
  try {
    return checkpointSchema.parse(JSON.parse(await readFile(join(path, FILE), "utf8")));
  } catch {
    return undefined;
  }
}

export async function writeCheckpoint(path: string, checkpoint: Checkpoint): Promise<void> {
  await replaceFile(join(path, FILE), JSON.stringify(checkpoint));
}

async function replaceFile(file: string, content: string): Promise<void> {
  await writeFile(`${file}.new`, content, { mode: 0o600 });
  await rename(`${file}.new`, file);
}

/** @returns undefined on a system without boot ids */
export async function bootOfMachine(): Promise<string | undefined> {
  return (await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => undefined))?.trim();
}

/** Why the store may have lost acknowledged entries; undefined when it has lost none. */
export function lossSince(checkpoint: Checkpoint | undefined, epoch: string, head: number, boot: string | undefined) {
  if (checkpoint === undefined || checkpoint.epoch !== epoch) return undefined;
  if (head < checkpoint.head) return `it ends at position ${head}, but it had already reached ${checkpoint.head}`;
  if (!checkpoint.closed && !checkpoint.sync && (boot === undefined || boot !== checkpoint.boot))
    return "the machine stopped while the journal ran without sync";
  return undefined;
}

/**
 * Why the folder seems to be a restored copy; undefined when it does not. `chmod`, `chown` and hard links also change
 * `ctime`: then a new epoch begins needlessly, and clients get a gap without missing events.
 */
export async function copiedSince(path: string, checkpoint: Checkpoint | undefined): Promise<string | undefined> {
  if ((await stat(join(path, RESTORED_FILE)).catch(() => undefined)) !== undefined)
    return "it was restored from a backup";
  if (checkpoint?.run === undefined) return undefined;
  const run = await readRun(path);
  if (run !== undefined && run.id === checkpoint.nextRun) return undefined;
  return run?.id === checkpoint.run.id && run.changedAtMs === checkpoint.run.changedAtMs
    ? undefined
    : "its folder was copied, or restored from a copy";
}

/** Writes the run file, and checkpoints with its fields. @returns the fields for the later checkpoints of this run */
export async function beginRun(
  path: string,
  checkpoint: (part: Partial<Checkpoint>) => Promise<void>,
): Promise<Partial<Checkpoint>> {
  const id = randomBytes(9).toString("base64url");
  // First, the checkpoint names both the old and the new run file: a crash may come between the two writes.
  const before = await readCheckpoint(path);
  await checkpoint({ ...(before?.run === undefined ? {} : { run: before.run }), nextRun: id });
  await replaceFile(join(path, RUN_FILE), id);
  const run = await readRun(path);
  const part = run === undefined ? {} : { run };
  await checkpoint(part);
  await rm(join(path, RESTORED_FILE), { force: true });
  return part;
}

export async function markRestored(path: string): Promise<void> {
  await writeFile(join(path, RESTORED_FILE), "", { mode: 0o600 });
}

async function readRun(path: string): Promise<Checkpoint["run"]> {
  const file = join(path, RUN_FILE);
  try {
    return { id: await readFile(file, "utf8"), changedAtMs: (await stat(file)).ctimeMs };
  } catch {
    return undefined;
  }
}
