import { existsSync } from "node:fs";

/**
 * Runs a built program. The files in `bin` must exist before the build: npx creates its links only once, and never
 * again if the files were missing then.
 * @param {string} program the path of the program below `dist`
 */
export async function runBuilt(program) {
  const url = new URL(`../../dist/${program}`, import.meta.url);
  if (existsSync(url)) await import(url.href);
  else {
    process.stderr.write("Not built yet: run `npm run build` first. `npm start` does so itself.\n");
    process.exitCode = 1;
  }
}
