import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";

const schema = z.object({ version: z.string(), engines: z.object({ node: z.string() }) });

/** The folder of this package: the nearest folder above this file that has a package.json. */
export const packageRoot = rootAbove(dirname(fileURLToPath(import.meta.url)));

/** From package.json: the version of this package, and the versions of Node.js that it needs, such as `>=20.19`. */
export const {
  version,
  engines: { node: neededNode },
} = schema.parse(JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")));

function rootAbove(folder: string): string {
  return existsSync(join(folder, "package.json")) ? folder : rootAbove(dirname(folder));
}
