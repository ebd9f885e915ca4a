import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { archiveFile } from "../../bridge/journal/archive/config.ts";
import { verifyJournal } from "../../bridge/journal/stores/level/verify.ts";
import { reasonOf } from "../../platform/error-reason.ts";
import { isLocked, messagesOf } from "../../platform/level/errors.ts";
import { openLevel } from "../../platform/level/open-store.ts";
import { type StoreScan, scanStore } from "../../platform/level/scan.ts";
import { readSecrets } from "../config/secrets.ts";
import { damageOfArchive } from "../stores/archive-file.ts";
import { storeFolders } from "../stores/store-folders.ts";
import { checkNotedDamage } from "./damage.ts";
import { type Finding, ok, warn, wrong } from "./finding.ts";

const MAX_LISTED_GAPS = 20;

/**
 * Compares each file of the stores with its checksums, reads each row, and checks the journal for gaps. Repairs
 * nothing. The rows can be read only while no server has the stores open.
 */
export async function verifyData(dataPath: string): Promise<Finding[]> {
  if ((await stat(dataPath).catch(() => undefined))?.isDirectory() !== true)
    return [wrong("data", `${dataPath} is not a folder: set DATA_PATH or --data-path to the data of the server`)];
  const findings: Finding[] = [];
  for (const [store, folder] of Object.entries(storeFolders(dataPath))) {
    if ((await stat(folder).catch(() => undefined)) === undefined) {
      findings.push(ok(store, `${folder} does not exist: nothing was stored yet`));
      continue;
    }
    const scan = await scanStore(folder);
    const damages = damagesOf(scan);
    findings.push(...damages.map((text) => wrong(store, text)));
    // Do not open a damaged store: LevelDB would repair it, and so change its files.
    if (damages.length > 0) continue;
    findings.push(ok(store, `${scan.files} files, ${scan.bytes} bytes match their checksums`));
    findings.push(...(await rowsOf(store, dataPath, folder)));
  }
  findings.push(...checkArchive(archiveFile(dataPath)));
  return [...findings, checkSecretsFile(dataPath), ...checkNotedDamage(dataPath)];
}

function checkArchive(file: string): Finding[] {
  if (!existsSync(file)) return [];
  const damage = damageOfArchive(file);
  if (damage === undefined) return [ok("archive", `${file} can be read`)];
  return [
    wrong("archive", `${file} is damaged (${damage}): restore it from a backup, or move it away to begin a new one`),
  ];
}

function damagesOf({ tables, logParts }: StoreScan): string[] {
  const advice = "restore a backup (skylapse restore), or let the next start repair it and report what is missing";
  const texts: string[] = [];
  for (const { file, damages } of tables)
    for (const damage of damages) {
      if (damage.kind === "table") texts.push(`${file} cannot be read (${damage.reason}): ${advice}`);
      if (damage.kind === "filter")
        texts.push(`the filter of ${file} is damaged, which makes reads slower but loses no data`);
      if (damage.kind === "rows")
        texts.push(
          `${damage.bytes} bytes of ${file} do not match their checksum, ` +
            `rows above ${JSON.stringify(damage.range.from)} to ${JSON.stringify(damage.range.to)}: ${advice}`,
        );
    }
  const lost = logParts.reduce((sum, { length }) => sum + length, 0);
  if (lost > 0) texts.push(`${lost} bytes of its log do not match their checksums: ${advice}`);
  return texts;
}

async function rowsOf(store: string, dataPath: string, folder: string): Promise<Finding[]> {
  try {
    if (store !== "journal") return [ok(store, `${await countRows(folder)} rows can be read`)];
    const { epoch, entries, states, missing } = await verifyJournal(join(dataPath, "journal"));
    const gaps = missing.slice(0, MAX_LISTED_GAPS).map(({ channel, gap, count }) => {
      const name = channel === "" ? "events without a channel" : `events of ${channel}`;
      return wrong(store, `${count} ${name} are missing between the positions ${gap.after} and ${gap.before}`);
    });
    if (missing.length > MAX_LISTED_GAPS) gaps.push(wrong(store, `${missing.length - MAX_LISTED_GAPS} more gaps`));
    return [...gaps, ok(store, `epoch ${epoch}: ${entries} events and ${states} states can be read`)];
  } catch (error) {
    const locked = "a server has it open, so only its files were checked: stop the server to check its rows, too";
    if (isLocked(error)) return [warn(store, locked)];
    const problem = `${folder} cannot be read (${messagesOf(error)})`;
    return [wrong(store, `${problem}: the next start repairs it as far as possible`)];
  }
}

async function countRows(folder: string): Promise<number> {
  const db = await openLevel<Buffer>(folder, { createIfMissing: false, valueEncoding: "buffer" });
  let rows = 0;
  try {
    for await (const _ of db.iterator()) rows++;
    return rows;
  } finally {
    await db.close();
  }
}

function checkSecretsFile(dataPath: string): Finding {
  const file = join(dataPath, "secrets.json");
  try {
    return ok("secrets", `${file} ${readSecrets(file) === undefined ? "does not exist" : "is not damaged"}`);
  } catch (error) {
    return wrong("secrets", reasonOf(error));
  }
}
