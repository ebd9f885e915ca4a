import { messagesOf } from "../../platform/level/errors.ts";
import { scanStore } from "../../platform/level/scan.ts";
import { damageFile, readDamages } from "../stores/damage-log.ts";
import { storeFolders } from "../stores/store-folders.ts";
import { type Finding, ok, wrong } from "./finding.ts";

const SUBJECT = "damage";

/** The damage that was recorded since an operator last removed the record. */
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

/** Compares every file of the stores with its checksums. A server may have the files open. */
export async function checkStoreFiles(dataPath: string): Promise<Finding[]> {
  const findings: Finding[] = [];
  let bytes = 0;
  for (const [store, folder] of Object.entries(storeFolders(dataPath))) {
    const scan = await scanStore(folder);
    bytes += scan.bytes;
    const blocks = scan.tables.flatMap(({ damages }) => damages).length;
    const parts = scan.logParts.length;
    if (blocks + parts > 0)
      findings.push(
        wrong(
          "stores",
          `${store} in ${folder} is damaged (${blocks} blocks, ${parts} parts of its log do not match their checksums): ` +
            "restart the server, which repairs them and reports what is missing, and check the disk",
        ),
      );
  }
  return findings.length > 0 ? findings : [ok("stores", `${bytes} bytes match their checksums`)];
}
