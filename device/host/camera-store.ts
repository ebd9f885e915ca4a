import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Logger } from "pino";
import { z } from "zod";
import { commandReplySchema, scheduleSchema, settingsChangeSchema } from "../../contract/commands.ts";
import { messageOf } from "../../platform/errors.ts";
import { syncFolder } from "../../platform/sync-folder.ts";

/** The progress of a command, present while its newest reply is `accepted`. Files of older versions lack it. */
const progressSchema = z.object({
  args: z.record(z.string(), z.unknown()),
  /** False while the command waits for earlier commands. */
  begun: z.boolean(),
  capture: z.string().optional(),
});

const storedStateSchema = z.object({
  /** `null`: reset. A camera that itself remembers settings must be set to automatic. */
  settings: z.object(settingsChangeSchema.shape).default({}),
  schedule: scheduleSchema.optional(),
  alerts: z.array(z.string()).default([]),
  commands: z
    .array(z.object({ name: z.string(), reply: commandReplySchema, progress: progressSchema.optional() }))
    .default([]),
});

/** The part of a camera's state that survives a restart. */
export type StoredState = z.infer<typeof storedStateSchema>;
export type RememberedCommand = StoredState["commands"][number];
/** After a crash, this shows the outcome of an accepted command. */
export type CommandProgress = z.infer<typeof progressSchema>;

export class CameraStore {
  readonly #file: string | undefined;
  readonly #logger: Logger;
  #state: StoredState;
  #dirty = false;
  #writing: Promise<void> | undefined;
  #failure: string | undefined;

  private constructor(file: string | undefined, state: StoredState, logger: Logger) {
    this.#file = file;
    this.#state = state;
    this.#logger = logger;
  }

  /**
   * Reads `{dataPath}/{camera}.json`. Renames an invalid file to `.damaged` and starts with defaults: otherwise the
   * camera would not start.
   * @param dataPath undefined: keeps the state in memory only
   * @throws when the folder cannot be created or the file cannot be read
   */
  static async open(dataPath: string | undefined, camera: string, logger: Logger): Promise<CameraStore> {
    if (dataPath === undefined) return new CameraStore(undefined, storedStateSchema.parse({}), logger);
    await mkdir(dataPath, { recursive: true });
    const file = join(dataPath, `${camera}.json`);
    return new CameraStore(file, await read(file, logger), logger);
  }

  get state(): StoredState {
    return this.#state;
  }

  /** Writes the state in the background. If the disk is slow, only the newest state is written. */
  update(change: Partial<StoredState>): void {
    this.#state = { ...this.#state, ...change };
    if (this.#file === undefined) return;
    this.#dirty = true;
    this.#writing ??= this.#write(this.#file);
  }

  /** Resolves when the state is on the disk. @throws when it cannot be written; the next {@link update} retries */
  async flush(): Promise<void> {
    await this.#writing;
    if (this.#failure !== undefined) throw new Error(this.#failure);
  }

  async #write(file: string): Promise<void> {
    try {
      while (this.#dirty) {
        this.#dirty = false;
        await replaceFile(file, JSON.stringify(this.#state));
        this.#failure = undefined;
      }
    } catch (error) {
      const reason = messageOf(error);
      // Every command and alert writes the file again, so each reason for a failure is logged only once.
      if (this.#failure !== reason) this.#logger.error({ file, reason }, "settings file cannot be written");
      this.#failure = reason;
    } finally {
      this.#writing = undefined;
    }
  }
}

async function read(file: string, logger: Logger): Promise<StoredState> {
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return "{}";
    throw error;
  });
  try {
    return storedStateSchema.parse(JSON.parse(text));
  } catch {
    logger.error({ file, movedTo: `${file}.damaged` }, "settings file damaged, starting with defaults");
    await rename(file, `${file}.damaged`);
    return storedStateSchema.parse({});
  }
}

/** Atomic even during a power cut. */
async function replaceFile(file: string, text: string): Promise<void> {
  const newFile = `${file}.new`;
  await writeFile(newFile, text, { mode: 0o600, flush: true });
  await rename(newFile, file);
  await syncFolder(dirname(file));
}
