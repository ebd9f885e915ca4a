import { readFileSync } from "node:fs";
import type { Plugin } from "vite";
import { FIRST_TEXTS } from "./first-texts.ts";

const QUERY = "?first";

/** Reduces `locales/en.json?first` to some parts. @param parts default {@link FIRST_TEXTS}; `all` for tests without a browser */
export function firstTexts(parts: readonly string[] | "all" = FIRST_TEXTS): Plugin {
  return {
    name: "skylapse-first-texts",
    enforce: "pre",
    load(id) {
      if (!id.endsWith(`.json${QUERY}`)) return undefined;
      const all: Record<string, unknown> = JSON.parse(readFileSync(id.slice(0, -QUERY.length), "utf8"));
      const first = Object.fromEntries(Object.entries(all).filter(([name]) => parts === "all" || parts.includes(name)));
      return { code: `export default ${JSON.stringify(first)}`, moduleType: "js" };
    },
  };
}
