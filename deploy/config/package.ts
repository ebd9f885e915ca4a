import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";

const schema = z.object({ version: z.string(), engines: z.object({ node: z.string() }) });

/** The nearest folder above this file that has a package.json: the source and the build lie at different depths. */
export const packageRoot = rootAbove(dirname(fileURLToPath(import.meta.url)));

/** The version of this package, and the versions of Node.js that this package needs, such as `>=20.19`. */
export const {
  version,
  engines: { node: neededNode },
} = schema.parse(JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")));

function rootAbove(folder: string): string {
  return existsSync(join(folder, "package.json")) ? folder : rootAbove(dirname(folder));
}
