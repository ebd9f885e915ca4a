import { cp, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import type { Journal } from "../../../bridge/journal/journal.ts";
import { type LevelJournalOptions, openLevelJournal } from "../../../bridge/journal/stores/level/level.ts";

export interface LevelPlace {
  path: string;
  /** The log lines of level warn and above. */
  logged: string[];
  open(options?: Partial<LevelJournalOptions>): Promise<Journal>;
  /** Replaces the files by a copy of another place's files, as if the other place's program were killed now. */
  copyOf(other: LevelPlace): Promise<void>;
  dispose(): Promise<void>;
}

/** A temporary folder for a journal. */
export async function createLevelPlace(): Promise<LevelPlace> {
  const folder = await mkdtemp(join(tmpdir(), "journal-"));
  const path = join(folder, "journal");
  const logged: string[] = [];
  const logger = pino({ level: "warn" }, { write: (line: string) => logged.push(line) });
  let journal: Journal | undefined;
  return {
    path,
    logged,
    async open(options = {}) {
      await journal?.close();
      const retention = { retentionEvents: 10_000, retentionHours: 24 };
      journal = await openLevelJournal({ path, sync: true, logger, ...retention, ...options });
      return journal;
    },
    async copyOf(other) {
      await journal?.close();
      await rm(path, { recursive: true, force: true });
      await cp(other.path, path, { recursive: true });
      await asLeftBehind(path);
    },
    async dispose() {
      await journal?.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Makes a copied journal look like the original files of a killed program. */
export async function asLeftBehind(path: string): Promise<void> {
  const mark = JSON.parse(await readFile(join(path, "mark.json"), "utf8"));
  mark.run.changedAtMs = (await stat(join(path, "run"))).ctimeMs;
  await writeFile(join(path, "mark.json"), JSON.stringify(mark));
}
