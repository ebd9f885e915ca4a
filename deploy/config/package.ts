import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";

const schema = z.object({ version: z.string(), engines: z.object({ node: z.string() }) });

/** The folder of this package, up from `deploy` or `dist/deploy` to where package.json is. */
export const packageRoot = rootAbove(dirname(fileURLToPath(import.meta.url)));

/** What package.json says: this version, and the versions of Node.js that it runs on, such as `>=20.19`. */
export const {
  version,
  engines: { node: neededNode },
} = schema.parse(JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")));

function rootAbove(folder: string): string {
  return existsSync(join(folder, "package.json")) ? folder : rootAbove(dirname(folder));
}
