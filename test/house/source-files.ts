import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** All parts of the project except `test`. */
export const PARTS = [...["contract", "platform", "broker", "bridge", "device", "dashboard-client", "deploy"]] as const;
export type Part = (typeof PARTS)[number];

export interface SourceFile {
  /** Relative to {@link ROOT}, such as `bridge/ingest.ts`. */
  path: string;
  text: string;
  /** Imported files of the project, relative to {@link ROOT}. */
  imports: string[];
  /** Imported packages and modules of Node.js. */
  packages: string[];
}

/** The files that git tracks or would add, without build output. */
export function projectFiles(...folders: string[]): string[] {
  const listed = execFileSync("git", ["ls-files", "-co", "--exclude-standard", "--", ...folders], {
    cwd: ROOT,
    encoding: "utf8",
  });
  return listed.split("\n").filter((path) => path !== "" && existsSync(join(ROOT, path)));
}

export function sourceFiles(...folders: string[]): SourceFile[] {
  return projectFiles(...folders)
    .filter((path) => /\.tsx?$/.test(path))
    .map((path) => {
      const text = readFileSync(join(ROOT, path), "utf8");
      const specifiers = [...text.matchAll(/(?:from|import)\s*\(?\s*["']([^"']+)["']/g)].map(([, name = ""]) => name);
      const isOwn = (name: string) => name.startsWith(".");
      return {
        path,
        text,
        imports: specifiers.filter(isOwn).map((name) => normalize(join(dirname(path), name))),
        packages: specifiers.filter((name) => !isOwn(name)),
      };
    });
}

/** Removes comments, but keeps the number of lines. */
export function withoutComments(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, (comment) => comment.replaceAll(/[^\n]/g, ""));
}
