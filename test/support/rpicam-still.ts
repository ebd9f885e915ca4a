import { chmodSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Returns the same picture each time; hangs or fails while a file of that name exists. */
const PROGRAM = `#!/bin/sh
cd "$(dirname "$0")"
while [ -e hang ]; do sleep 0.05; done
if [ -e fail ]; then echo "the lens cap is on" >&2; exit 1; fi
exec cat picture.jpg
`;

/** Writes a stand-in for the camera's program into a folder that must come first in PATH. */
export function installRpicamStill(folder: string, picture: Buffer): void {
  const program = join(folder, "rpicam-still");
  writeFileSync(program, PROGRAM);
  chmodSync(program, 0o755);
  writeFileSync(join(folder, "picture.jpg"), picture);
}

/** Makes captures hang, fail, or succeed from now on. */
export function letRpicamStill(folder: string, does: "hang" | "fail" | "work"): void {
  for (const what of ["hang", "fail"]) rmSync(join(folder, what), { force: true });
  if (does !== "work") writeFileSync(join(folder, does), "");
}
