import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

/**
 * A small file beside the store that says how far the journal had got. It is written about once a second, without
 * sync, so it may be behind the store. A store behind the file has lost entries that clients have seen.
 */
const markSchema = z.object({
  epoch: z.string(),
  /** A position that was durable. */
  head: z.number().int().nonnegative(),
  /** The journal was closed in order, everything in it synced. */
  closed: z.boolean(),
  /** Entries were acknowledged only when they were synced. */
  sync: z.boolean(),
  /** The boot of the machine: what a process wrote without sync survives the process, but not the machine. */
  boot: z.string().optional(),
});

export type Mark = z.infer<typeof markSchema>;

const FILE = "mark.json";

/** Undefined when there is none, or none that can be read. */
export async function readMark(path: string): Promise<Mark | undefined> {
  try {
    return markSchema.parse(JSON.parse(await readFile(join(path, FILE), "utf8")));
  } catch {
    return undefined;
  }
}

/** Replaces the mark as a whole. */
export async function writeMark(path: string, mark: Mark): Promise<void> {
  const file = join(path, FILE);
  await writeFile(`${file}.new`, JSON.stringify(mark), { mode: 0o600 });
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
export function lossSince(mark: Mark | undefined, epoch: string, head: number, boot: string | undefined) {
  if (mark === undefined || mark.epoch !== epoch) return undefined;
  if (head < mark.head) return `it ends at position ${head}, and had reached ${mark.head}`;
  if (!mark.closed && !mark.sync && (boot === undefined || boot !== mark.boot))
    return "the machine stopped while the journal ran without sync";
  return undefined;
}
