import { stat } from "node:fs/promises";
import { join } from "node:path";
import { verifyJournal } from "../../bridge/journal/stores/level/verify.ts";
import { isLocked, messagesOf } from "../../platform/level/errors.ts";
import { openLevel } from "../../platform/level/open-store.ts";
import { type StoreScan, scanStore } from "../../platform/level/scan.ts";
import { readSecrets } from "../config/secrets.ts";
import { reasonOf } from "../operator/error-reason.ts";
import { storeFolders } from "../stores/store-folders.ts";
import { checkNotedDamage } from "./damage.ts";
import { type Finding, ok, warn, wrong } from "./finding.ts";

/** Gaps that are told one by one. */
const MAX_TOLD = 20;

/**
 * Reads everything below a DATA_PATH: each file against its checksums, then each row of the stores, then whether the
 * journal's positions meet. Repairs nothing. The rows can be read while no server has the stores open.
 */
export async function verifyData(dataPath: string): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const [store, folder] of Object.entries(storeFolders(dataPath))) {
    if ((await stat(folder).catch(() => undefined)) === undefined) {
      findings.push(ok(store, `${folder} is not there: nothing was kept yet`));
      continue;
    }
    const scan = await scanStore(folder);
    const damages = damagesOf(scan);
    findings.push(...damages.map((text) => wrong(store, text)));
    // To open it would repair it: what is wrong with it must be seen first.
    if (damages.length > 0) continue;
    findings.push(ok(store, `${scan.files} files, ${scan.bytes} bytes match their checksums`));
    findings.push(...(await rowsOf(store, dataPath, folder)));
  }
  return [...findings, checkSecretsFile(dataPath), ...checkNotedDamage(dataPath)];
}

function damagesOf({ tables, logParts }: StoreScan): string[] {
  const advice = "the next start repairs it and says what is missing; better, put back a backup (skylapse restore)";
  const texts: string[] = [];
  for (const { file, damages } of tables)
    for (const damage of damages) {
      if (damage.kind === "table") texts.push(`${file} cannot be read, ${damage.reason}: ${advice}`);
      if (damage.kind === "filter") texts.push(`the filter of ${file} is damaged, which costs time and no data`);
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
    const told = missing.slice(0, MAX_TOLD).map(({ channel, gap, count }) => {
      const which = channel === "" ? "no channel" : channel;
      return wrong(
        store,
        `${count} events of ${which} are missing between the positions ${gap.after} and ${gap.before}`,
      );
    });
    if (missing.length > MAX_TOLD) told.push(wrong(store, `${missing.length - MAX_TOLD} more gaps`));
    return [...told, ok(store, `epoch ${epoch}: ${entries} events and ${states} states can be read`)];
  } catch (error) {
    if (isLocked(error)) return [warn(store, "a server has it open: stop that one to have its rows read, too")];
    return [wrong(store, `${folder} cannot be read (${messagesOf(error)}): the next start repairs what can be`)];
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
    return readSecrets(file) === undefined ? ok("secrets", `${file} is not there`) : ok("secrets", `${file} is whole`);
  } catch (error) {
    return wrong("secrets", reasonOf(error));
  }
}
