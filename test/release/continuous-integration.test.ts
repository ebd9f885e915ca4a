import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { parse } from "yaml";
import { neededNode } from "../../deploy/config/package.ts";

it("runs .ci/run with the oldest supported version of Node.js and with 24", () => {
  const { jobs } = parse(readFileSync(new URL("../../.github/workflows/ci.yml", import.meta.url), "utf8"));
  expect(jobs.test.strategy.matrix.node).toEqual([neededNode.replace(">=", ""), "24"]);
  // biome-ignore lint/suspicious/noTemplateCurlyInString: an expression of the workflow
  expect(jobs.test.container).toBe("node:${{ matrix.node }}-bookworm");
  expect(jobs.test.steps.map(({ run }: { run?: string }) => run)).toContain(".ci/run");
});
