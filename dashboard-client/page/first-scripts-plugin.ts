import { fileURLToPath } from "node:url";
import type { Plugin, Rolldown } from "vite";

const pathOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const START = pathOf("start.ts");
const MAIN = pathOf("main.tsx");

/**
 * Builds two scripts for the first screen: `start`, which connects, and `main`, which renders. Otherwise each module that a
 * place shares with the first screen would come in a file of its own: nine more requests, and files that compress worse.
 */
export function firstScripts(): Plugin {
  return {
    name: "skylapse-first-scripts",
    apply: "build",
    config: () => {
      const groups = [
        { name: withImports(START, "start"), debugName: "start", priority: 2 },
        { name: withImports(MAIN, "main"), debugName: "main", priority: 1 },
      ];
      return { build: { rolldownOptions: { output: { codeSplitting: { groups } } } } };
    },
    // The browser requests all of them at once, although they import each other.
    transformIndexHtml: {
      order: "post",
      handler: (html, { bundle = {} }) => {
        const main = Object.values(bundle).find((file) => file.type === "chunk" && MAIN in file.modules);
        if (main?.type !== "chunk") throw new Error("there is no script with main.tsx");
        return [main.fileName, ...main.imports]
          .filter((file) => !html.includes(file))
          .map((file) => ({
            ...{ tag: "link", attrs: { rel: "modulepreload", crossorigin: true, href: `./${file}` } },
            injectTo: "head" as const,
          }));
      },
    },
  };
}

/** Names the script of the modules that are loaded with another one. Null: any other module. */
function withImports(of: string, name: string): Rolldown.CodeSplittingNameFunction {
  let found: Set<string> | undefined;
  return (id, context) => {
    found ??= importsOf(of, context);
    return found.has(id) ? name : null;
  };
}

type Context = Parameters<Rolldown.CodeSplittingNameFunction>[1];

/** A module, and all modules that are loaded with it. */
function importsOf(id: string, context: Context, found = new Set<string>()): Set<string> {
  if (found.has(id)) return found;
  found.add(id);
  for (const imported of context.getModuleInfo(id)?.importedIds ?? []) importsOf(imported, context, found);
  return found;
}
