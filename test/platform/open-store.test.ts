import { mkdirSync, mkdtempSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { openStore, repairStore } from "../../platform/level/open-store.ts";

const UNREADABLE = new Error("unreadable");

function temporaryStore() {
  const folder = mkdtempSync(join(tmpdir(), "skylapse-store-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  return { folder, what: "the journal", level: { valueEncoding: "utf8" } };
}

it("does not repair a store that another process has open, and says so", async () => {
  const store = temporaryStore();
  const { db } = await openStore<string>(store);
  onTestFinished(() => db.close());
  await db.put("a", "1");
  await expect(repairStore<string>(store, UNREADABLE)).rejects.toThrow("another process has it open");
  expect(await db.get("a")).toBe("1");
});

it("repairs a store after a repair that failed", async () => {
  const store = temporaryStore();
  const { db } = await openStore<string>(store);
  await db.put("a", "1");
  await db.close();
  // LevelDB writes the new list of its files there first.
  const inTheWay = join(store.folder, "000001.dbtmp");
  mkdirSync(inTheWay);
  await expect(repairStore<string>(store, UNREADABLE)).rejects.toThrow("could not be repaired");
  rmdirSync(inTheWay);
  const repaired = await repairStore<string>(store, UNREADABLE);
  expect(await repaired.db.get("a")).toBe("1");
  await repaired.db.close();
});
