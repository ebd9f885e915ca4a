import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

/**
 * Shifts the clock (`Date`) of one program that is started with it.
 * @param folder the folder for the module that shifts the clock
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
