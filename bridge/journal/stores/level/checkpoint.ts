import { randomBytes } from "node:crypto";
import { readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

/**
 * A small file beside the store that says how far the journal had got. It is written about once a second, without
 * sync, so it may be behind the store. A store behind the file has lost entries that clients have seen.
 */
const checkpointSchema = z.object({
  epoch: z.string(),
  /** A position that was durable. */
  head: z.number().int().nonnegative(),
  /** The journal was closed in order, everything in it synced. */
  closed: z.boolean(),
  /** Entries were acknowledged only when they were synced. */
  sync: z.boolean(),
  /** The boot of the machine: what a process wrote without sync survives the process, but not the machine. */
  boot: z.string().optional(),
  /** The run file as it was when this run had written it. None in marks of earlier versions. */
  run: z.object({ id: z.string(), changedAtMs: z.number() }).optional(),
  /** The run file that is about to be written. */
  nextRun: z.string().optional(),
});

export type Checkpoint = z.infer<typeof checkpointSchema>;

const FILE = "mark.json";
/**
 * Written at each start, with another text. The file system notes when, in a time that no program can set (`ctime`): a
 * copy that is put back, by whatever tool, gets another.
 */
const RUN_FILE = "run";
/** `skylapse restore` puts it there: the journal is a copy, whatever the files say. */
const RESTORED_FILE = "restored";

/** Undefined when there is none, or none that can be read. */
export async function readCheckpoint(path: string): Promise<Checkpoint | undefined> {
  try {
    return checkpointSchema.parse(JSON.parse(await readFile(join(path, FILE), "utf8")));
  } catch {
    return undefined;
  }
}

/** Replaces the mark as a whole. */
export async function writeCheckpoint(path: string, checkpoint: Checkpoint): Promise<void> {
  const file = join(path, FILE);
  await writeFile(`${file}.new`, JSON.stringify(checkpoint), { mode: 0o600 });
  await rename(`${file}.new`, file);
}

/** A name of this boot of the machine; undefined where the system has none. */
export async function bootOfMachine(): Promise<string | undefined> {
  try {
    return (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
  } catch {
    return undefined;
  }
}

/** Why the store must be taken to have lost entries that were acknowledged, or undefined. */
export function lossSince(checkpoint: Checkpoint | undefined, epoch: string, head: number, boot: string | undefined) {
  if (checkpoint === undefined || checkpoint.epoch !== epoch) return undefined;
  if (head < checkpoint.head) return `it ends at position ${head}, and had reached ${checkpoint.head}`;
  if (!checkpoint.closed && !checkpoint.sync && (boot === undefined || boot !== checkpoint.boot))
    return "the machine stopped while the journal ran without sync";
  return undefined;
}

/**
 * Why the folder must be taken for a copy that was put back, or undefined. `chmod`, `chown` and hard links change the time
 * as well: then a new epoch begins without need, which costs clients a gap that is none.
 */
export async function copiedSince(path: string, checkpoint: Checkpoint | undefined): Promise<string | undefined> {
  if ((await stat(join(path, RESTORED_FILE)).catch(() => undefined)) !== undefined)
    return "it was restored from a backup";
  if (checkpoint?.run === undefined) return undefined;
  const run = await readRun(path);
  if (run !== undefined && run.id === checkpoint.nextRun) return undefined;
  return run?.id === checkpoint.run.id && run.changedAtMs === checkpoint.run.changedAtMs
    ? undefined
    : "its folder was copied, or put back from a copy";
}

/** Marks the folder as this run's. @param checkpoint writes the mark @returns what the mark must say from now on */
export async function beginRun(
  path: string,
  checkpoint: (part: Partial<Checkpoint>) => Promise<void>,
): Promise<Partial<Checkpoint>> {
  const id = randomBytes(9).toString("base64url");
  // First: after a crash in between both the old run file and the new one are known.
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

/** For a copy. */
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
