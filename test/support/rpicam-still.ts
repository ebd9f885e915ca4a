import { chmodSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Gives the same picture each time; hangs or fails while a file says so. */
const PROGRAM = `#!/bin/sh
cd "$(dirname "$0")"
while [ -e hang ]; do sleep 0.05; done
if [ -e fail ]; then echo "the lens cap is on" >&2; exit 1; fi
exec cat picture.jpg
`;

/** Puts a stand-in for the camera's own program into a folder that is then to be first in PATH. */
export function installRpicamStill(folder: string, picture: Buffer): void {
  const program = join(folder, "rpicam-still");
  writeFileSync(program, PROGRAM);
  chmodSync(program, 0o755);
  writeFileSync(join(folder, "picture.jpg"), picture);
}

/** From now on a picture never comes, or not at all, or as usual. */
export function letRpicamStill(folder: string, does: "hang" | "fail" | "work"): void {
  for (const what of ["hang", "fail"]) rmSync(join(folder, what), { force: true });
  if (does !== "work") writeFileSync(join(folder, does), "");
}
