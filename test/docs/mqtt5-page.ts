import { readFileSync } from "node:fs";
import { join } from "node:path";
import { projectFiles, ROOT } from "../house/source-files.ts";

/** A normative statement of the MQTT 5.0 specification. */
export interface Statement {
  /** The number without `MQTT-`, for example `3.1.2-4`. */
  readonly number: string;
  readonly binds: "server" | "client" | "both";
  readonly text: string;
  /** Why no test cites the statement. Empty if a test has to cite it. */
  readonly reason: string;
}

export const STATEMENTS: readonly Statement[] = readFileSync(join(ROOT, "test/broker/mqtt5/statements.tsv"), "utf8")
  .split("\n")
  .filter((line) => line !== "" && !line.startsWith("#"))
  .map((line) => {
    const [number = "", binds = "", text = "", reason = ""] = line.split("\t");
    if (binds !== "server" && binds !== "client" && binds !== "both") throw new Error(`line without a party: ${line}`);
    return { number, binds, text, reason };
  });

/** Test files by the numbers of the statements that they cite in the titles and the tables of their tests. */
export function citations(): Map<string, string[]> {
  const cited = new Map<string, string[]>();
  for (const path of projectFiles("test/broker/mqtt5/*.test.ts")) {
    const text = readFileSync(join(ROOT, path), "utf8").replaceAll(/^ *\/\/.*$/gm, "");
    const numbers = [...text.matchAll(/\[MQTT-([\d.]+-\d+)\]/g)].map(([, number = ""]) => number);
    for (const number of new Set(numbers)) cited.set(number, [...(cited.get(number) ?? []), path]);
  }
  return cited;
}

export function conformancePage(): string {
  const cited = citations();
  const rows = STATEMENTS.map(({ number, binds, text, reason }) => {
    const files = cited.get(number)?.map((path) => `[${nameOf(path)}](../${path})`) ?? [];
    return `| MQTT-${number} | ${binds} | ${text} | ${files.length > 0 ? files.join(", ") : reason} |`;
  });
  const tested = STATEMENTS.filter(({ number }) => cited.has(number)).length;
  return `# MQTT 5.0 conformance

This page lists the ${STATEMENTS.length} normative statements of the
[MQTT 5.0 specification](https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html), in the words of this project.
Tests cite ${tested} of them; the others have the reason why they have no test. The page is made from
\`test/broker/mqtt5/statements.tsv\` and the tests by \`npm run docs\`.

| Statement | Binds | Meaning | Test, or the reason why not |
|---|---|---|---|
${rows.join("\n")}
`;
}

function nameOf(path: string): string {
  return path.replace(/^.*\//, "").replace(/\.test\.ts$/, "");
}
