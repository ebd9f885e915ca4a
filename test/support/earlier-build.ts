import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const PROJECT = fileURLToPath(new URL("../..", import.meta.url));

export interface EarlierBuild {
  /** The `dist` folder. */
  dist: string;
  remove(): void;
}

/**
 * Builds the server of an earlier commit in a temporary folder, with the installed packages of this version, without
 * the dashboard page. @throws {Error} the git history does not have the commit, or the commit cannot be built
 */
export function buildEarlier(commit: string): EarlierBuild {
  const folder = mkdtempSync(join(tmpdir(), "skylapse-earlier-"));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  try {
    const files = execFileSync("tar", ["-x", "-C", folder], { input: archiveOf(commit) });
    if (files.length > 0) throw new Error(files.toString());
    symlinkSync(join(PROJECT, "node_modules"), join(folder, "node_modules"));
    const run = (program: string, ...args: string[]) => execFileSync(program, args, { cwd: folder, stdio: "pipe" });
    run("npx", "tsc", "-p", "tsconfig.build.json", "--noCheck");
    run("npm", "run", "--silent", "copy-lua");
    return { dist: join(folder, "dist"), remove };
  } catch (error) {
    remove();
    throw error;
  }
}

function archiveOf(commit: string): Buffer {
  try {
    return execFileSync("git", ["archive", commit], { cwd: PROJECT, maxBuffer: 2 ** 30, stdio: "pipe" });
  } catch (cause) {
    const why =
      "a shallow clone or an unpacked archive has no history: run this test in a full clone (git fetch --unshallow)";
    throw new Error(`git does not have the commit ${commit} of the version before: ${why}`, { cause });
  }
}
