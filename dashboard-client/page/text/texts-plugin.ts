import { readFileSync } from "node:fs";
import { basename } from "node:path";
import messageFormat from "@messageformat/core";
import compileModule, { type StringStructure } from "@messageformat/core/lib/compile-module.js";
import type { Plugin } from "vite";
import { FIRST_TEXTS } from "./first-texts.ts";

// The package is CommonJS, but its types are those of an ES module.
const MessageFormat = messageFormat as unknown as typeof messageFormat.default;
const compile = compileModule as unknown as typeof compileModule.default;

const COMPILED = /^(.+\.json)\?(all|first)$/;

/**
 * Compiles the messages of `locales/en.json?all` to functions, so that the page needs no parser. With `?first`, only some parts.
 * A message that the language does not allow ends the build, such as one with a form of plural that the language does not have.
 * @param firstParts default {@link FIRST_TEXTS}; `all` for tests without a browser
 */
export function texts(firstParts: readonly string[] | "all" = FIRST_TEXTS): Plugin {
  return {
    name: "skylapse-texts",
    enforce: "pre",
    load(id) {
      const [, path, parts] = COMPILED.exec(id) ?? [];
      if (path === undefined) return undefined;
      const all: StringStructure = JSON.parse(readFileSync(path, "utf8"));
      const isWanted = (name: string) => parts === "all" || firstParts === "all" || firstParts.includes(name);
      const wanted: StringStructure = Object.fromEntries(Object.entries(all).filter(([name]) => isWanted(name)));
      return { code: compile(new MessageFormat(basename(path, ".json")), wanted), moduleType: "js" };
    },
  };
}
