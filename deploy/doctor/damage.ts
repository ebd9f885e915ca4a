import { messagesOf } from "../../platform/level/errors.ts";
import { scanStore } from "../../platform/level/scan.ts";
import { damageFile, readDamages } from "../stores/damage-log.ts";
import { storeFolders } from "../stores/store-folders.ts";
import { type Finding, ok, wrong } from "./finding.ts";

const SUBJECT = "damage";

export function checkNotedDamage(dataPath: string): Finding[] {
  const file = damageFile(dataPath);
  try {
    const noted = readDamages(dataPath);
    if (noted.length === 0) return [ok(SUBJECT, "none is recorded")];
    return noted.map(({ at, store, found, missing }) =>
      wrong(SUBJECT, `${store}, ${at}: ${found}; ${missing}. Once you have dealt with it, remove ${file}`),
    );
  } catch (error) {
    return [wrong(SUBJECT, `${file} cannot be read (${messagesOf(error)}): read it yourself, then remove it`)];
  }
}

/** Checks the checksums of all files, even while a server has the files open. */
export async function checkStoreFiles(dataPath: string): Promise<Finding[]> {
  const findings: Finding[] = [];
  let bytes = 0;
  for (const [store, folder] of Object.entries(storeFolders(dataPath))) {
    const scan = await scanStore(folder);
    bytes += scan.bytes;
    const blocks = scan.tables.flatMap(({ damages }) => damages).length;
    const parts = scan.logParts.length;
    if (blocks + parts === 0) continue;
    const extent = `${blocks} blocks, ${parts} parts of its log do not match their checksums`;
    const advice = "restart the server, which repairs them and reports what is missing, and check the disk";
    findings.push(wrong("stores", `${store} in ${folder} is damaged (${extent}): ${advice}`));
  }
  return findings.length > 0 ? findings : [ok("stores", `${bytes} bytes match their checksums`)];
}
