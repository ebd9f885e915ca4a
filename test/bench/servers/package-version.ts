import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

export function packageVersion(name: string): string {
  const content: { version: string } = require(`${name}/package.json`);
  return content.version;
}
