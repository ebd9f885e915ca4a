import { existsSync } from "node:fs";

/**
 * Runs a program that the build has made. What `bin` names must be there before that: npx makes its links once, and
 * remembers for ever that there was nothing to link to.
 * @param {string} program its path below `dist`
 */
export async function runBuilt(program) {
  const url = new URL(`../../dist/${program}`, import.meta.url);
  if (existsSync(url)) await import(url.href);
  else {
    process.stderr.write("Not built yet: run npm run build first (npm start does it too)\n");
    process.exitCode = 1;
  }
}
