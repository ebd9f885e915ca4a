import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(import.meta.url);

/** Reads the file, because some packages do not export their package.json. */
export function packageVersion(name: string): string {
  const files = (require.resolve.paths(name) ?? []).map((folder) => join(folder, name, "package.json"));
  const content: { version: string } = JSON.parse(readFileSync(files.find(existsSync) ?? name, "utf8"));
  return content.version;
}
