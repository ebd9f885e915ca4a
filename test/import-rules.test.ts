import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Which folders of the project a folder may import besides itself. `test` may import all. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  contract: [],
  // Building blocks for Node that know no camera.
  platform: ["contract"],
  device: ["contract", "platform"],
  broker: ["contract", "platform"],
  bridge: ["contract", "platform"],
  "dashboard-client": ["contract"],
  // Puts the parts together into a program; nothing imports it.
  deploy: ["contract", "platform", "broker", "bridge", "device"],
};

interface Import {
  file: string;
  specifier: string;
}

function importsOf(folder: string): Import[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => /\.tsx?$/.test(name))
    .flatMap((name) => {
      const file = join(folder, name);
      const source = readFileSync(join(ROOT, file), "utf8");
      return [...source.matchAll(/(?:from|import)\s*\(?\s*["']([^"']+)["']/g)].map(([, specifier = ""]) => ({
        file,
        specifier,
      }));
    });
}

function folderOf({ file, specifier }: Import): string {
  return relative(ROOT, resolve(ROOT, dirname(file), specifier)).split("/")[0] ?? "";
}

describe.each(Object.entries(MAY_IMPORT))("%s", (folder, allowed) => {
  it(`imports no other folder than ${allowed.join(", ") || "itself"}`, () => {
    const strays = importsOf(folder)
      .filter(({ specifier }) => specifier.startsWith("."))
      .filter((imported) => ![folder, ...allowed].includes(folderOf(imported)));
    expect(strays).toEqual([]);
  });
});

describe("the contract", () => {
  it("imports zod and nothing else, for a browser reads it", () => {
    const packages = importsOf("contract").filter(({ specifier }) => !specifier.startsWith(".") && specifier !== "zod");
    expect(packages).toEqual([]);
  });

  it.each(["contract", "dashboard-client"])("%s imports nothing of Node", (folder) => {
    const ofNode = importsOf(folder).filter(
      ({ file, specifier }) => specifier.startsWith("node:") && !file.endsWith("vite.config.ts"),
    );
    expect(ofNode).toEqual([]);
  });

  it("alone spells the close codes", () => {
    const strays = Object.keys(MAY_IMPORT)
      .filter((folder) => folder !== "contract")
      .flatMap((folder) =>
        readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
          .filter((name) => /\.tsx?$/.test(name))
          .filter((name) =>
            /\b(?:4001|4002|4003|4004|4005|4100|4200|4201|4207|4208|4209)\b/.test(
              withoutComments(join(ROOT, folder, name)),
            ),
          )
          .map((name) => join(folder, name)),
      );
    expect(strays).toEqual([]);
  });

  it("alone spells the topics", () => {
    const strays = Object.keys(MAY_IMPORT)
      .filter((folder) => folder !== "contract")
      .flatMap((folder) =>
        readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
          .filter((name) => /\.tsx?$/.test(name))
          .filter((name) => /["'`/](?:cameras|processing)\/(?:\$\{|\+)/.test(withoutComments(join(ROOT, folder, name))))
          .map((name) => join(folder, name)),
      );
    expect(strays).toEqual([]);
  });
});

function withoutComments(path: string): string {
  return readFileSync(path, "utf8").replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
}
