import { describe, expect, it } from "vitest";
import { PARTS, type Part, sourceFiles, withoutComments } from "./source-files.ts";

/** The parts that each part may import, besides itself. */
const MAY_IMPORT: Record<Part, readonly Part[]> = {
  contract: [],
  platform: ["contract"],
  device: ["contract", "platform"],
  broker: ["contract", "platform"],
  bridge: ["contract", "platform"],
  "dashboard-client": ["contract"],
  // No part imports `deploy`.
  deploy: ["contract", "platform", "broker", "bridge", "device"],
};

const partOf = (path: string) => path.split("/")[0] ?? "";

describe.each(PARTS)("%s", (part) => {
  it(`imports only ${MAY_IMPORT[part].join(", ") || "itself"}`, () => {
    const allowed: readonly string[] = [part, ...MAY_IMPORT[part]];
    const strays = sourceFiles(part).flatMap(({ path, imports }) =>
      imports.filter((target) => !allowed.includes(partOf(target))).map((target) => `${path} imports ${target}`),
    );
    expect(strays).toEqual([]);
  });
});

describe("dashboard-client", () => {
  it("imports no zod, which would be a sixth of the page", () => {
    const strays = sourceFiles("dashboard-client").filter(({ packages }) => packages.includes("zod"));
    expect(strays.map(({ path }) => path)).toEqual([]);
  });
});

describe("contract", () => {
  it("imports zod only, because browsers load it; the planner of captures also imports suncalc", () => {
    const strays = sourceFiles("contract").filter(({ path, packages }) =>
      packages.some((name) => name !== "zod" && !(name === "suncalc" && path.startsWith("contract/schedule/"))),
    );
    expect(strays.map(({ path }) => path)).toEqual([]);
  });

  it("keeps the planner of captures apart, so that only who plans captures loads suncalc", () => {
    const importers = sourceFiles(...PARTS).filter(
      ({ path, imports }) =>
        !path.startsWith("contract/schedule/") && imports.some((target) => target.startsWith("contract/schedule/")),
    );
    const strays = importers.filter(({ path }) => !/^(?:device|dashboard-client\/page\/places\/camera)\//.test(path));
    expect(strays.map(({ path }) => path)).toEqual([]);
  });

  it.each(["contract", "dashboard-client"])("%s imports no module of Node.js", (part) => {
    const strays = sourceFiles(part).filter(
      ({ path, packages }) =>
        packages.some((name) => name.startsWith("node:")) && !/(vite\.config|-plugin)\.ts$/.test(path),
    );
    expect(strays.map(({ path }) => path)).toEqual([]);
  });

  it("is the only part that contains the close codes", () => {
    expect(spelling(/\b(?:4001|4002|4003|4004|4005|4100|4200|4201|4207|4208|4209)\b/)).toEqual([]);
  });

  it("is the only part that contains the topics", () => {
    // The page contains addresses of its places and of the HTTP API, which look like topics.
    const found = spelling(/["'`/](?:cameras|processing)\/(?:\$\{|\+)/);
    expect(found.filter((path) => !path.startsWith("dashboard-client/page/"))).toEqual([]);
  });
});

/** Files outside the contract whose code, without comments, contains the text. */
function spelling(text: RegExp): string[] {
  return sourceFiles(...PARTS.filter((part) => part !== "contract"))
    .filter((file) => text.test(withoutComments(file.text)))
    .map(({ path }) => path);
}
