import { randomBytes } from "node:crypto";
import { readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

/**
 * The checkpoint: a small file beside the store with the newest position of the journal. It is written about once a
 * second without sync, so it may be behind the store. If the store is behind the file, the store has lost entries that
 * clients have already received.
 */
const checkpointSchema = z.object({
  epoch: z.string(),
  /** A position that was durable. */
  head: z.number().int().nonnegative(),
  /** The journal was closed properly, and everything in it was synced. */
  closed: z.boolean(),
  /** Entries were acknowledged only after they were synced. */
  sync: z.boolean(),
  /** The boot id of the machine. Unsynced writes survive the end of the process, but not a crash of the machine. */
  boot: z.string().optional(),
  /** The id and the ctime of the run file, as this run wrote it. Missing in checkpoints of earlier versions. */
  run: z.object({ id: z.string(), changedAtMs: z.number() }).optional(),
  /** The id of the run file that is about to be written. */
  nextRun: z.string().optional(),
});

export type Checkpoint = z.infer<typeof checkpointSchema>;

const FILE = "mark.json";
/**
 * The run file is written at each start with a new random id. The file system records the time of that write as
 * `ctime`, which no program can set. So a folder that was copied back by any tool has another `ctime`.
 */
const RUN_FILE = "run";
/** `skylapse restore` creates this file: the journal is a copy, whatever the other files say. */
const RESTORED_FILE = "restored";

/** Reads the checkpoint. Undefined when it is missing or unreadable. */
export async function readCheckpoint(path: string): Promise<Checkpoint | undefined> {
  try {
    return checkpointSchema.parse(JSON.parse(await readFile(join(path, FILE), "utf8")));
  } catch {
    return undefined;
  }
}

/** Replaces the checkpoint atomically. */
export async function writeCheckpoint(path: string, checkpoint: Checkpoint): Promise<void> {
  const file = join(path, FILE);
  await writeFile(`${file}.new`, JSON.stringify(checkpoint), { mode: 0o600 });
  await rename(`${file}.new`, file);
}

/** The boot id of the machine; undefined on a system without one. */
export async function bootOfMachine(): Promise<string | undefined> {
  try {
    return (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
  } catch {
    return undefined;
  }
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
 * `ctime`. In those cases a new epoch begins needlessly, and clients are told of a gap that does not exist.
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

/**
 * Writes the run file of this run.
 * @param checkpoint writes the checkpoint with these fields
 * @returns the fields for all later checkpoints of this run
 */
export async function beginRun(
  path: string,
  checkpoint: (part: Partial<Checkpoint>) => Promise<void>,
): Promise<Partial<Checkpoint>> {
  const id = randomBytes(9).toString("base64url");
  // The checkpoint comes first: after a crash between the two writes, it names both the old and the new run file.
  const before = await readCheckpoint(path);
  await checkpoint({ ...(before?.run === undefined ? {} : { run: before.run }), nextRun: id });
  const file = join(path, RUN_FILE);
  await writeFile(`${file}.new`, id, { mode: 0o600 });
  await rename(`${file}.new`, file);
  const run = await readRun(path);
  const part = run === undefined ? {} : { run };
  await checkpoint(part);
  await rm(join(path, RESTORED_FILE), { force: true });
  return part;
}

/** Marks a folder as a restored copy. */
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
