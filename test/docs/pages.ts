import { readFileSync } from "node:fs";
import { join } from "node:path";
import { projectFiles, ROOT } from "../house/source-files.ts";

export { ROOT };

/** Paths of all Markdown pages. */
export function pagePaths(): string[] {
  return projectFiles("*.md");
}

export function readPage(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

/** The page without its code blocks, which contain neither links nor headings. */
export function withoutCodeBlocks(page: string): string {
  return page.replaceAll(/^ *```[\s\S]*?^ *```$/gm, "");
}

export interface Link {
  text: string;
  target: string;
}

/** Links and pictures of a page, except those to other sites. */
export function relativeLinks(page: string): Link[] {
  const links = [...withoutCodeBlocks(page).matchAll(/\[((?:[^[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)/g)];
  return links.map(([, text = "", target = ""]) => ({ text, target })).filter(({ target }) => !/^[a-z]+:/.test(target));
}

/** The anchors that GitHub gives the headings of a page. */
export function anchorsOf(page: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, heading = ""] of withoutCodeBlocks(page).matchAll(/^#{1,6} +(.+?) *$/gm)) {
    const slug = heading
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1")
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\p{M}_ -]/gu, "")
      .replaceAll(" ", "-");
    let anchor = slug;
    for (let count = 1; anchors.has(anchor); count++) anchor = `${slug}-${count}`;
    anchors.add(anchor);
  }
  return anchors;
}

/** The text below a heading, up to the next heading of the same or a higher level. */
export function sectionOf(page: string, heading: string): string {
  const lines = page.split("\n");
  const start = lines.indexOf(heading);
  if (start < 0) throw new Error(`the page has no heading "${heading}"`);
  const level = /^#+/.exec(heading)?.[0].length ?? 0;
  const end = lines.findIndex(
    (line, index) => index > start && /^#+ /.test(line) && (/^#+/.exec(line)?.[0].length ?? 0) <= level,
  );
  return lines.slice(start + 1, end < 0 ? undefined : end).join("\n");
}

/** The cells of each table row in a text, without the head rows. */
export function tableRows(text: string): string[][] {
  const lines = text.split("\n");
  return lines
    .filter(
      (line, index) => line.startsWith("|") && !/^\|[ :|-]+$/.test(line) && !/^\|[ :|-]+$/.test(lines[index + 1] ?? ""),
    )
    .map((line) =>
      line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}
