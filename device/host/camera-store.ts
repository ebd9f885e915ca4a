import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Logger } from "pino";
import { z } from "zod";
import { commandReplySchema, scheduleSchema, settingsChangeSchema } from "../../contract/commands.ts";
import { syncFolder } from "../../platform/sync-folder.ts";

/** Absent in files of versions that did not note how far a command has come. */
const progressSchema = z.object({
  args: z.record(z.string(), z.unknown()),
  begun: z.boolean(),
  capture: z.string().optional(),
});

const storedStateSchema = z.object({
  /** `null`: it was set once and taken back, so that a camera which remembers settings itself must be told. */
  settings: z.object(settingsChangeSchema.shape).default({}),
  /** Absent until somebody sets one. */
  schedule: scheduleSchema.optional(),
  /** Alerts that were raised and stand. */
  alerts: z.array(z.string()).default([]),
  commands: z
    .array(z.object({ name: z.string(), reply: commandReplySchema, progress: progressSchema.optional() }))
    .default([]),
});

/** What a camera was told and must not forget. */
export type StoredState = z.infer<typeof storedStateSchema>;

export interface CameraStore {
  readonly state: StoredState;
  /** Changes what is kept. Written in the background, the newest state only. */
  update(change: Partial<StoredState>): void;
  /** Resolves when everything is written. @throws when it cannot be, which was logged; the next {@link update} tries again */
  flush(): Promise<void>;
}

/**
 * Reads `{dataPath}/{camera}.json`. A file that cannot be understood is put aside as `.damaged` and the camera begins
 * afresh: one that takes pictures with default settings is worth more than one that refuses to start.
 *
 * @param dataPath undefined keeps everything in memory
 * @throws when the directory cannot be made or read
 */
export async function openCameraStore(
  dataPath: string | undefined,
  camera: string,
  logger: Logger,
): Promise<CameraStore> {
  if (dataPath === undefined) return new FileCameraStore(undefined, storedStateSchema.parse({}), logger);
  await mkdir(dataPath, { recursive: true });
  const file = join(dataPath, `${camera}.json`);
  return new FileCameraStore(file, await read(file, logger), logger);
}

async function read(file: string, logger: Logger): Promise<StoredState> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return storedStateSchema.parse({});
    throw error;
  }
  try {
    return storedStateSchema.parse(JSON.parse(text));
  } catch {
    logger.error({ file, movedTo: `${file}.damaged` }, "settings file is damaged, starting with defaults");
    await rename(file, `${file}.damaged`);
    return storedStateSchema.parse({});
  }
}

class FileCameraStore implements CameraStore {
  readonly #file: string | undefined;
  readonly #logger: Logger;
  #state: StoredState;
  #dirty = false;
  #writing: Promise<void> | undefined;
  #trouble: string | undefined;

  constructor(file: string | undefined, state: StoredState, logger: Logger) {
    this.#file = file;
    this.#state = state;
    this.#logger = logger;
  }

  get state(): StoredState {
    return this.#state;
  }

  update(change: Partial<StoredState>): void {
    this.#state = { ...this.#state, ...change };
    if (this.#file === undefined) return;
    this.#dirty = true;
    this.#writing ??= this.#write(this.#file);
  }

  async flush(): Promise<void> {
    await this.#writing;
    if (this.#trouble !== undefined) throw new Error(this.#trouble);
  }

  async #write(file: string): Promise<void> {
    try {
      while (this.#dirty) {
        this.#dirty = false;
        await replaceFile(file, JSON.stringify(this.#state));
        this.#trouble = undefined;
      }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      // Once: every command and every alert is another try.
      if (this.#trouble !== reason) this.#logger.error({ file, reason }, "cannot write settings file");
      this.#trouble = reason;
    } finally {
      this.#writing = undefined;
    }
  }
}

/** Whole or not at all, whenever the power goes: written beside, synced, renamed over. */
async function replaceFile(file: string, text: string): Promise<void> {
  const beside = `${file}.new`;
  await writeFile(beside, text, { mode: 0o600, flush: true });
  await rename(beside, file);
  await syncFolder(dirname(file));
}
