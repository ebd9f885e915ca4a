import { chmodSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Always returns the same picture. Hangs or fails while a file `hang` or `fail` exists. */
const PROGRAM = `#!/bin/sh
cd "$(dirname "$0")"
while [ -e hang ]; do sleep 0.05; done
if [ -e fail ]; then echo "the lens cap is on" >&2; exit 1; fi
exec cat picture.jpg
`;

/** Writes a stand-in for `rpicam-still` into a folder, which must be the first folder in PATH. */
export function installRpicamStill(folder: string, picture: Buffer): void {
  const program = join(folder, "rpicam-still");
  writeFileSync(program, PROGRAM);
  chmodSync(program, 0o755);
  writeFileSync(join(folder, "picture.jpg"), picture);
}

/** Makes later captures hang, fail or succeed. */
export function letRpicamStill(folder: string, does: "hang" | "fail" | "work"): void {
  for (const what of ["hang", "fail"]) rmSync(join(folder, what), { force: true });
  if (does !== "work") writeFileSync(join(folder, does), "");
}
