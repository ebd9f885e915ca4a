import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { messageOf } from "../../platform/errors.ts";

const VERSION = "24.21.0";
/** An npm package that contains the program `node` for this platform. */
const PACKAGE = `node-${process.platform}-${process.arch}`;
const CACHE = fileURLToPath(new URL("../../node_modules/.cache", import.meta.url));
const FOLDER = join(CACHE, `skylapse-node-${VERSION}`);
const runsNode24 = process.versions.node.startsWith("24.");

/** The program `node` of version 24: the one that runs the tests, or the one of {@link installNode24}. */
export const NODE_24 = runsNode24 ? process.execPath : join(FOLDER, "node_modules", PACKAGE, "bin", "node");

/** Installs Node.js 24 beside the packages of the project, if another version runs the tests. Throws with instructions. */
export function installNode24(): void {
  if (runsNode24 || existsSync(NODE_24)) return;
  process.stdout.write(`Installing what the tests need: Node.js ${VERSION}\n`);
  mkdirSync(CACHE, { recursive: true });
  const temporary = mkdtempSync(`${FOLDER}-`);
  try {
    const options = [
      "--no-save",
      "--no-package-lock",
      "--no-audit",
      "--no-fund",
      "--ignore-scripts",
      "--prefer-offline",
    ];
    execFileSync("npm", ["install", "--prefix", temporary, ...options, `${PACKAGE}@${VERSION}`], { stdio: "pipe" });
    // Another run of the tests may have created the folder meanwhile.
    if (!existsSync(FOLDER)) renameSync(temporary, FOLDER);
    if (spawnSync(NODE_24, ["--version"]).status !== 0) throw new Error(`${NODE_24} does not run on this machine`);
  } catch (error) {
    throw new Error(
      `The tests also run the programs under Node.js 24, but \`npm install ${PACKAGE}@${VERSION}\` failed: connect to the ` +
        `npm registry and try again, or run the tests with Node.js 24.\n${messageOf(error)}`,
      { cause: error },
    );
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}
