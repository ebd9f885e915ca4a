import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { recordsOf } from "./log-file.ts";
import { readVarint } from "./varint.ts";

/** The fields of a record in a manifest. */
const COMPARATOR = 1;
const LOG_NUMBER = 2;
const NEXT_FILE = 3;
const LAST_SEQUENCE = 4;
const COMPACT_POINTER = 5;
const DELETED_FILE = 6;
const NEW_FILE = 7;
const PREVIOUS_LOG_NUMBER = 9;

/**
 * The numbers of the tables that belong to a store, as its manifest names them. Undefined if the manifest is missing or
 * damaged: then any table may belong to the store.
 * @see https://github.com/google/leveldb/blob/main/db/version_edit.cc
 */
export async function tablesInUse(folder: string): Promise<ReadonlySet<number> | undefined> {
  try {
    const name = (await readFile(join(folder, "CURRENT"), "utf8")).trimEnd();
    if (!/^MANIFEST-\d+$/.test(name)) return undefined;
    const tables = new Set<number>();
    for (const record of recordsOf(await readFile(join(folder, name)))) applyRecord(record, tables);
    return tables;
  } catch {
    return undefined;
  }
}

function applyRecord(record: Buffer, tables: Set<number>): void {
  let at = 0;
  const number = () => {
    const { value, end } = readVarint(record, at);
    at = end;
    return value;
  };
  const skipText = () => {
    const length = number();
    at += length;
  };
  while (at < record.length) {
    switch (number()) {
      case LOG_NUMBER:
      case PREVIOUS_LOG_NUMBER:
      case NEXT_FILE:
      case LAST_SEQUENCE:
        number();
        break;
      case COMPARATOR:
        skipText();
        break;
      case COMPACT_POINTER:
        number();
        skipText();
        break;
      case DELETED_FILE:
        number();
        tables.delete(number());
        break;
      case NEW_FILE:
        number();
        tables.add(number());
        // The size, and the smallest and the largest key.
        number();
        skipText();
        skipText();
        break;
      default:
        throw new RangeError("the manifest has an unknown field");
    }
  }
}
