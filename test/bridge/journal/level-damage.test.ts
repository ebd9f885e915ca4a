import { execFile } from "node:child_process";
import { cp, mkdir, readdir, readFile, rename, rm, truncate, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Journal } from "../../../bridge/journal/journal.ts";
import { startJournalProcess } from "./journal-process.ts";
import { asLeftBehind, createLevelPlace, type LevelPlace } from "./level-place.ts";
import { from, message, positions, range, readAll, state } from "./messages.ts";

let place: LevelPlace;
let journal: Journal;
beforeEach(async () => {
  place = await createLevelPlace();
  journal = await place.open();
});
afterEach(() => place.dispose());

/** Closes the journal, puts back the files as they were before, as after a kill, and then damages them. */
async function crash(damage: (files: string) => Promise<void> = async () => {}): Promise<void> {
  const image = join(dirname(place.path), "image");
  await cp(place.path, image, { recursive: true });
  await journal.close();
  await rm(place.path, { recursive: true });
  await rename(image, place.path);
  await asLeftBehind(place.path);
  await damage(join(place.path, "log"));
}

async function newest(files: string, ending: string): Promise<string> {
  const names = (await readdir(files)).filter((name) => name.startsWith(ending) || name.endsWith(ending)).sort();
  return join(files, names.at(-1) ?? "none");
}

async function append(count: number): Promise<void> {
  for (let sent = 0; sent < count; sent++) await journal.append(message());
}

async function overwrite(file: string, at: (size: number) => number): Promise<void> {
  const bytes = await readFile(file);
  bytes.fill(0x5a, at(bytes.length), at(bytes.length) + 64);
  await writeFile(file, bytes);
}

async function changeCheckpoint(files: string, changes: object): Promise<void> {
  const mark = join(dirname(files), "mark.json");
  await writeFile(mark, JSON.stringify({ ...JSON.parse(await readFile(mark, "utf8")), ...changes }));
}

describe("after a crash", () => {
  test("an incomplete last write is lost, but all acknowledged entries before it are kept, and positions continue", async () => {
    await append(50);
    const { epoch } = journal;
    await crash(async (files) => {
      const log = await newest(files, ".log");
      await truncate(log, (await readFile(log)).length - 7);
      // The checkpoint is written once a second, and a busy machine may need longer for the writes.
      await changeCheckpoint(files, { head: 49 });
    });
    journal = await place.open();
    expect(journal.epoch).toBe(epoch);
    expect(positions(await readAll(journal, ["dashboard"]))).toEqual(range(1, 49));
    expect(await journal.append(message())).toEqual({ position: 50, duplicate: false });
  });

  test("unreadable bytes begin a new epoch, because they may have been acknowledged entries", async () => {
    await append(50);
    const { epoch } = journal;
    await crash(async (files) => overwrite(await newest(files, ".log"), (size) => size - 100));
    journal = await place.open();
    expect(journal.epoch).not.toBe(epoch);
    const kept = positions(await readAll(journal, ["dashboard"]));
    expect(kept).toEqual(range(1, kept.length));
    expect(kept.length).toBeGreaterThanOrEqual(48);
    expect(place.logged.join()).toMatch(/may have lost entries/);
    expect(journal.recovery("dashboard", { epoch, position: 50 })).toMatchObject({ reason: "epoch_changed" });
    expect(await journal.append(message())).toMatchObject({ position: journal.head, duplicate: false });
  });

  test("an intact journal keeps its epoch and detects duplicates", async () => {
    await journal.append(message(from("device:north", "s", 1)));
    await journal.append(state("north", "power"));
    const { epoch } = journal;
    await crash();
    journal = await place.open();
    expect(journal.epoch).toBe(epoch);
    expect(await journal.append(message(from("device:north", "s", 1)))).toMatchObject({ duplicate: true });
    expect(positions(journal.snapshot("dashboard"))).toEqual([2]);
    expect(place.logged).toEqual([]);
  });
});

describe("a damaged store", () => {
  const damages: [string, (files: string) => Promise<void>][] = [
    ["its manifest is overwritten", async (files) => overwrite(await newest(files, "MANIFEST-"), () => 0)],
    ["its manifest is missing", async (files) => rm(await newest(files, "MANIFEST-"))],
    ["its CURRENT file is missing", async (files) => rm(join(files, "CURRENT"))],
    ["its CURRENT file is empty", async (files) => writeFile(join(files, "CURRENT"), "")],
  ];
  test.each(damages)("is repaired with all its entries, under a new epoch, when %s", async (_, damage) => {
    await append(30);
    journal = await place.open();
    await append(30);
    const { epoch } = journal;
    await crash(damage);
    journal = await place.open();
    expect(journal.epoch).not.toBe(epoch);
    expect(positions(await readAll(journal, ["dashboard"]))).toEqual(range(1, 60));
    expect(place.logged.join()).toMatch(/repaired/);
    expect(await journal.append(message())).toEqual({ position: 61, duplicate: false });
    // Opening the repaired store again keeps the epoch.
    const repaired = journal.epoch;
    journal = await place.open();
    expect(journal.epoch).toBe(repaired);
  });

  test("is repaired as far as possible when a table is missing, and positions never decrease", async () => {
    await append(30);
    journal = await place.open();
    await append(30);
    const { epoch } = journal;
    journal = await place.open();
    await crash(async (files) => rm(await newest(files, ".ldb")));
    journal = await place.open();
    expect(journal.epoch).not.toBe(epoch);
    expect(journal.head).toBe(60);
    const kept = positions(await readAll(journal, ["dashboard"]));
    expect(kept.length).toBeLessThan(60);
    expect(await journal.append(message())).toEqual({ position: 61, duplicate: false });
    expect(positions(await readAll(journal, ["dashboard"]))).toEqual([...kept, 61]);
  });

  test("that was replaced by an older backup begins a new epoch, after the positions that clients already have", async () => {
    await append(5);
    await journal.close();
    const backup = join(dirname(place.path), "backup");
    await cp(join(place.path, "log"), backup, { recursive: true });
    journal = await place.open();
    await append(5);
    const { epoch } = journal;
    await journal.close();
    await rm(join(place.path, "log"), { recursive: true });
    await rename(backup, join(place.path, "log"));
    journal = await place.open();
    expect(journal.epoch).not.toBe(epoch);
    expect(await journal.append(message())).toEqual({ position: 11, duplicate: false });
    expect(positions(await readAll(journal, ["dashboard"]))).toEqual([...range(1, 5), 11]);
  });

  test("that was restored from a copy begins a new epoch, whatever its newest position", async () => {
    await append(5);
    await journal.close();
    const copy = join(dirname(place.path), "copy");
    await promisify(execFile)("cp", ["-a", place.path, copy]);
    journal = await place.open();
    const { epoch } = journal;
    await append(5);
    await journal.close();
    await rm(place.path, { recursive: true });
    await rename(copy, place.path);
    journal = await place.open();
    await append(20);
    expect(journal.epoch).not.toBe(epoch);
    expect(journal.recovery("dashboard", { epoch, position: 10 })).toMatchObject({ reason: "epoch_changed" });
    expect(place.logged.join()).toMatch(/begins a new epoch/);
    // The next start keeps the epoch, because the folder no longer counts as a copy.
    const own = journal.epoch;
    journal = await place.open();
    expect(journal.epoch).toBe(own);
  });

  test("that was copied over a newer folder begins a new epoch", async () => {
    await append(5);
    await journal.close();
    const copy = join(dirname(place.path), "copy");
    await promisify(execFile)("cp", ["-a", place.path, copy]);
    journal = await place.open();
    const { epoch } = journal;
    await append(5);
    await journal.close();
    await promisify(execFile)("sh", ["-c", 'rm -r "$1"/log && cp -a "$0"/. "$1"', copy, place.path]);
    journal = await place.open();
    expect(journal.epoch).not.toBe(epoch);
  });

  test("that was removed completely starts empty, with another epoch", async () => {
    await append(5);
    const { epoch } = journal;
    await journal.close();
    await rm(join(place.path, "log"), { recursive: true });
    journal = await place.open();
    expect(journal.epoch).not.toBe(epoch);
    expect(await readAll(journal, ["dashboard"])).toEqual([]);
  });
});

describe("a crash of the machine", () => {
  /** Makes the files look as after a restart of the machine, by giving the checkpoint another boot id. */
  const restartMachine = (boot: string | undefined) => (files: string) => changeCheckpoint(files, { boot });

  test("while the journal ran without sync begins a new epoch, because entries may be lost", async () => {
    journal = await place.open({ sync: false });
    await append(5);
    const { epoch } = journal;
    await crash(restartMachine("another-boot"));
    journal = await place.open({ sync: false });
    expect(journal.epoch).not.toBe(epoch);
  });

  test("while the journal ran with sync keeps the epoch", async () => {
    await append(5);
    const { epoch } = journal;
    await crash(restartMachine("another-boot"));
    journal = await place.open();
    expect(journal.epoch).toBe(epoch);
  });

  test("after the journal was closed properly keeps the epoch", async () => {
    journal = await place.open({ sync: false });
    await append(5);
    const { epoch } = journal;
    await journal.close();
    await restartMachine("another-boot")(join(place.path, "log"));
    journal = await place.open({ sync: false });
    expect(journal.epoch).toBe(epoch);
  });
});

describe("a journal that cannot be opened tells the operator what to do", () => {
  test("when another process has it open", async () => {
    const child = await startJournalProcess(place.path);
    expect(child.reports).toEqual([
      { kind: "unusable", error: expect.stringMatching(/StoreUnusableError: .* in use.* set another DATA_PATH/) },
    ]);
    await child.kill();
  });

  test("when its folder is a file", async () => {
    const file = join(dirname(place.path), "file");
    await writeFile(file, "");
    await expect(place.open({ path: file })).rejects.toThrow(/the journal in .*file\/log cannot be opened: ENOTDIR/);
  });

  test("when it is damaged beyond repair", async () => {
    await append(5);
    await crash(async (files) => {
      await rm(files, { recursive: true });
      await mkdir(files);
      // CURRENT is a folder, which no repair can read.
      await mkdir(join(files, "CURRENT"));
    });
    await expect(place.open()).rejects.toThrow(/cannot be opened|could not be repaired/);
  });

  test("when its retention would keep no entries", async () => {
    await expect(place.open({ retentionEvents: 0 })).rejects.toThrow(/retentionEvents must be at least 1/);
    await expect(place.open({ retentionHours: Number.NaN })).rejects.toThrow(/retentionHours must be more than 0/);
  });
});
