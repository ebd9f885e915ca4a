import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { FolderTree } from "../../../device/cameras/folder-tree.ts";
import { temporaryFolder } from "../support/programs.ts";

test("a quick scan of the folder tree skips the files that the full scan skipped because of the limits", async () => {
  const path = temporaryFolder();
  const add = (name: string): void => writeFileSync(join(path, name), "");
  for (const name of ["a", "b", "c"]) {
    mkdirSync(join(path, name));
    for (const file of ["1.jpg", "2.jpg"]) add(`${name}/${file}`);
  }
  const tree = new FolderTree({ path, maxDepth: 1, maxFolders: 3, maxFiles: 3, settleMs: 1500 });
  await tree.fullScan();
  const pending = () =>
    tree
      .pending()
      .map((file) => file.path)
      .sort();
  expect(pending()).toEqual(["b/2.jpg", "c/1.jpg", "c/2.jpg"]);
  await tree.quickScan();
  expect(pending()).toEqual(["b/2.jpg", "c/1.jpg", "c/2.jpg"]);
  mkdirSync(join(path, "d"));
  add("d/1.jpg");
  await tree.quickScan();
  expect(pending()).toEqual(["b/2.jpg", "c/1.jpg", "c/2.jpg", "d/1.jpg"]);
});
