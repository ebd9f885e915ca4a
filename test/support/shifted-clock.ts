import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

/**
 * Sets the clock of a program that is started with it, and of no other: all that a program reads by `Date`.
 * @param folder where the module that does it is written
 * @returns the program's `NODE_OPTIONS`
 */
export function shiftedClock(folder: string, shiftMs: number): string {
  const file = join(folder, `clock-${shiftMs}.mjs`);
  writeFileSync(
    file,
    `const RealDate = Date;
     const now = () => RealDate.now() + ${shiftMs};
     globalThis.Date = class extends RealDate {
       constructor(...args) {
         if (args.length === 0) super(now());
         else super(...args);
       }
       static now() {
         return now();
       }
     };`,
  );
  return `--import=${pathToFileURL(file).href}`;
}
