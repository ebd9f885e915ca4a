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
