import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { messageOf } from "../../platform/errors.ts";

const CACHE = fileURLToPath(new URL("../../node_modules/.cache", import.meta.url));

/** A JavaScript runtime as an npm package that contains its program for this platform. */
interface Runtime {
  name: string;
  version: string;
  package: string;
  /** The path of the program below the package. */
  program: string;
  /** What to do if the package cannot be installed. */
  otherwise?: string;
}

const { platform, arch, versions, execPath } = process;
const runsNode24 = versions.node.startsWith("24.");

const NODE: Runtime = {
  name: "Node.js",
  version: "24.21.0",
  package: `node-${platform}-${arch}`,
  program: "bin/node",
  otherwise: ", or run the tests with Node.js 24",
};
const DENO_RUNTIME: Runtime = {
  name: "Deno",
  version: "2.9.6",
  package: `@deno/${platform}-${arch}${platform === "linux" ? "-glibc" : ""}`,
  program: "deno",
};
const BUN_RUNTIME: Runtime = {
  name: "Bun",
  version: "1.4.5",
  package: `@oven/bun-${platform}-${arch === "arm64" ? "aarch64" : arch}`,
  program: "bin/bun",
};

/** The program `node` of version 24: the one that runs the tests, or one of {@link installRuntimes}. */
export const NODE_24 = runsNode24 ? execPath : programOf(NODE);
export const DENO = programOf(DENO_RUNTIME);
export const BUN = programOf(BUN_RUNTIME);

/** Installs Node.js 24, Deno and Bun beside the packages of the project. Throws with instructions. */
export function installRuntimes(): void {
  for (const runtime of runsNode24 ? [DENO_RUNTIME, BUN_RUNTIME] : [NODE, DENO_RUNTIME, BUN_RUNTIME]) install(runtime);
}

function folderOf({ name, version }: Runtime): string {
  return join(CACHE, `skylapse-${name === "Node.js" ? "node" : name.toLowerCase()}-${version}`);
}

function programOf(runtime: Runtime): string {
  return join(folderOf(runtime), "node_modules", runtime.package, runtime.program);
}

function install(runtime: Runtime): void {
  const { name, version, package: packageName, otherwise = "" } = runtime;
  const [folder, program] = [folderOf(runtime), programOf(runtime)];
  if (existsSync(program)) return;
  process.stdout.write(`Installing what the tests need: ${name} ${version}\n`);
  mkdirSync(CACHE, { recursive: true });
  const temporary = mkdtempSync(`${folder}-`);
  try {
    const options = [
      "--no-save",
      "--no-package-lock",
      "--no-audit",
      "--no-fund",
      "--ignore-scripts",
      "--prefer-offline",
    ];
    execFileSync("npm", ["install", "--prefix", temporary, ...options, `${packageName}@${version}`], { stdio: "pipe" });
    // Another run of the tests may have created the folder meanwhile.
    if (!existsSync(folder)) renameSync(temporary, folder);
    if (spawnSync(program, ["--version"]).status !== 0) throw new Error(`${program} does not run on this machine`);
  } catch (error) {
    throw new Error(
      `The tests also run programs under ${name} ${version}, but \`npm install ${packageName}@${version}\` failed: connect ` +
        `to the npm registry and try again${otherwise}.\n${messageOf(error)}`,
      { cause: error },
    );
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}
