import { expect, it } from "vitest";
import { exampleNames, setUpExamples } from "../docs/examples.ts";
import { pagePaths } from "../docs/pages.ts";
import { sourceFiles } from "../house/source-files.ts";

const examples = setUpExamples();

// In this order, because the first account ends trial mode, in which tokens need no key.
it.each([
  ["README.md", "broadcast", [/"sent_to":\d+[\s\S]*"channel":"dashboard"/]],
  ["README.md", "mosquitto", [/skylapse\/v1\/cameras\/north\/events\/capture\.completed \{/]],
  ["README.md", "command", [/"status":"succeeded"/]],
  ["docs/websocket.md", "websocket", [/auth_success[\s\S]*subscription_result[\s\S]*capture\.completed/]],
  [
    "docs/websocket.md",
    "client-library",
    [/connected[\s\S]*camera\.about north \(state\)[\s\S]*capture\.completed north/],
  ],
  ["docs/migration.md", "migration-broadcast", [/"sent_to":\d+[\s\S]*"channel":"dashboard"/]],
  [
    "docs/access.md",
    "command-line",
    [
      /^alice\tadmin\n\S{43}\nnorth\t\S+\nwest\t\S+\ney\S+\n(?:ok|warn) +Node\.js[\s\S]*operator key +the server accepts it/,
    ],
  ],
  ["docs/access.md", "log-in", [/^\{"cameras":\[\{"id":"north"[\s\S]*"code":"unauthorized"/]],
  ["docs/access.md", "camera-groups", [/^dora\tviewer\tonly north-face$/m]],
  ["docs/access.md", "revoke", [/"message":"The token was revoked"/]],
  [
    "docs/access.md",
    "integrations",
    [/"id":"north"[\s\S]*home-assistant\tdashboard:read camera:control\t\S+\tends \S+$/m],
  ],
  ["docs/access.md", "certificate", [/^seven\t\S+\tcamera-7$/m]],
  [
    "docs/operations.md",
    "backup",
    [/\d+ files, \d+ bytes[\s\S]*\d+ files, \d+ bytes[\s\S]*\nok +journal +\d+ files[\s\S]*\nok +journal +epoch/],
  ],
  [
    "docs/operations.md",
    "doctor",
    [/^(?:ok|warn) +Node\.js/m, /^ *"verdict": "(?:ok|warn)"/m, /^ok +journal +\d+ files/m],
  ],
  ["docs/operations.md", "clock", [/^system\t\S+Z\nserver\t\S+Z$/m]],
  // This example is the last: afterwards, the commands use the new operator key, which the server accepts only after a
  // restart.
  ["docs/operations.md", "rotate-secrets", [/^jwt-secret: replaced\noperator-key: replaced\nsimulator: replaced$/m]],
])("%s: the example %s works as printed", async (page, name, expected) => {
  const output = await examples.outputOf(page, name, expected);
  for (const pattern of expected) expect(output).toMatch(pattern);
});

it("every example that a page marks as tried appears in a test", () => {
  const tests = sourceFiles("test").filter(({ path }) => path.endsWith(".test.ts"));
  const isNamed = (name: string) => tests.some(({ text }) => text.includes(`"${name}"`));
  const marked = pagePaths().flatMap((page) => exampleNames(page).map((name) => ({ page, name })));
  expect(marked.filter(({ name }) => !isNamed(name))).toEqual([]);
});
