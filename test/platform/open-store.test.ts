import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { openStore, repairStore } from "../../platform/level/open-store.ts";
import { scanStore } from "../../platform/level/scan.ts";

const UNREADABLE = new Error("unreadable");

function temporaryStore() {
  const folder = mkdtempSync(join(tmpdir(), "skylapse-store-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  return { folder, what: "the journal", level: { valueEncoding: "utf8" } };
}

it("refuses to repair a store that another process has open", async () => {
  const store = temporaryStore();
  const { db } = await openStore<string>(store);
  onTestFinished(() => db.close());
  await db.put("a", "1");
  await expect(repairStore<string>(store, UNREADABLE)).rejects.toThrow("another process has it open");
  expect(await db.get("a")).toBe("1");
});

it("repairs a store at the start after a failed repair", async () => {
  const store = temporaryStore();
  const { db } = await openStore<string>(store);
  await db.put("a", "1");
  await db.close();
  // A repair first writes a new manifest to this path, so a folder at this path makes the repair fail.
  const inTheWay = join(store.folder, "000001.dbtmp");
  mkdirSync(inTheWay);
  await expect(repairStore<string>(store, UNREADABLE)).rejects.toThrow("could not be repaired");
  rmdirSync(inTheWay);
  const repaired = await repairStore<string>(store, UNREADABLE);
  expect(await repaired.db.get("a")).toBe("1");
  await repaired.db.close();
});

describe("a table that a killed process has not finished", () => {
  it("is no damage", async () => {
    const store = temporaryStore();
    await fill(store);
    writeFileSync(join(store.folder, "009999.ldb"), "the beginning of a table");
    expect((await scanStore(store.folder)).tables).toEqual([]);
    const { db, loss } = await openStore<string>(store);
    expect(loss).toBeUndefined();
    expect(await db.keys().all()).toHaveLength(ROWS);
    await db.close();
  });

  it("is not confused with a damaged table of the store", async () => {
    const store = temporaryStore();
    await fill(store);
    for (const name of tablesOf(store)) truncateSync(join(store.folder, name), 100);
    expect((await scanStore(store.folder)).tables.map(({ file }) => basename(file))).toEqual(tablesOf(store));
    const { db, loss } = await openStore<string>(store);
    expect(loss?.reason).toContain("has no footer of a table");
    await db.close();
  });

  it("may be a table of the store if the manifest is damaged", async () => {
    const store = temporaryStore();
    await fill(store);
    const manifest = readdirSync(store.folder).find((name) => name.startsWith("MANIFEST-")) ?? "";
    const bytes = readFileSync(join(store.folder, manifest));
    bytes[10] = (bytes[10] ?? 0) ^ 1;
    writeFileSync(join(store.folder, manifest), bytes);
    writeFileSync(join(store.folder, "009999.ldb"), "the beginning of a table");
    expect((await scanStore(store.folder)).tables).toHaveLength(1);
  });
});

const ROWS = 200;

/** Writes rows into tables. Two compactions, so that the manifest names tables that are gone. */
async function fill(store: ReturnType<typeof temporaryStore>) {
  const { db } = await openStore<string>(store);
  for (let time = 0; time < 2; time++) {
    await db.batch(Array.from({ length: ROWS }, (_, key) => ({ type: "put", key: `${1000 + key}`, value: `${time}` })));
    await db.compactRange("0", "~");
  }
  await db.close();
  expect(tablesOf(store)).toHaveLength(1);
}

function tablesOf({ folder }: ReturnType<typeof temporaryStore>) {
  return readdirSync(folder).filter((name) => /\.(ldb|sst)$/.test(name));
}
