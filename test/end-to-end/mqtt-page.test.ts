import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { PYTHON } from "../support/programs.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";
import { COMMAND } from "../support/skylapse-command.ts";

const PAGE = readFileSync(fileURLToPath(new URL("../../docs/mqtt.md", import.meta.url)), "utf8");

let skylapse: Skylapse;
const dataPath = makeDataPath();

beforeAll(async () => {
  skylapse = await startSkylapse({ dataPath, env: { SIMULATOR: "1", CAPTURE_INTERVAL_S: "1" } });
});

afterAll(async () => {
  await skylapse.end();
  removeDataPath(dataPath);
});

/** Starts an example as the page has it, except for ports and the time that npx takes. */
function start(name: string): ChildProcess {
  const found = new RegExp(`<!-- tried: ${name} -->\\n\`\`\`(\\w+)\\n([\\s\\S]*?)\\n\`\`\``).exec(PAGE);
  if (found?.[2] === undefined) throw new Error(`the page has no example "${name}"`);
  const code = found[2]
    .replaceAll("8082", new URL(skylapse.http).port)
    .replaceAll("1883", new URL(skylapse.mqtt).port)
    .replaceAll("npx skylapse", `"${process.execPath}" "${COMMAND}"`);
  const [command, args] = found[1] === "python" ? [PYTHON, ["-u", "-c", code]] : ["bash", ["-c", code]];
  const env = { PATH: process.env.PATH, DATA_PATH: dataPath, WS_PORT: new URL(skylapse.http).port };
  // A process group of its own, so that the shell's children end with it.
  return spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], detached: true, env });
}

/** What an example prints until its output matches all patterns, or until it has ended. */
async function outputOf(name: string, wanted: readonly RegExp[]): Promise<string> {
  const child = start(name);
  let output = "";
  const closed = once(child, "close");
  const complete = new Promise<void>((resolve) => {
    const read = (chunk: unknown) => {
      output += String(chunk);
      if (wanted.every((pattern) => pattern.test(output))) resolve();
    };
    child.stdout?.on("data", read);
    child.stderr?.on("data", read);
  });
  await Promise.race([complete, closed]);
  if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  await closed;
  return output;
}

// In the order of the page: the first camera ends the first try, on which the first two examples depend.
it.each([
  ["mqtt-subscribe", [/cameras\/north\/events\/capture\.completed \{/]],
  ["mqtt-paho", [/cameras\/north\/events\/capture\.completed \{/]],
  [
    "mqtt-camera",
    [
      /cameras\/west\/state\/presence .*"camera\.online"/,
      /cameras\/west\/about .*Canon/,
      /cameras\/west\/alerts\/heater .*no current/,
    ],
  ],
  ["mqtt-command", [/replies\/capture\.now .*"command_id":"1".*"succeeded"/]],
  ["mqtt-job", [/processing\/stacker\/jobs\/night-1 .*"progress":10/]],
  // The simulated camera captures once a second. The second call gets what was published in the five seconds between.
  ["mqtt-session", [/(.*capture\.completed \{.*\n){5}/]],
])("the example %s works as printed", async (name, wanted) => {
  const output = await outputOf(name, wanted);
  for (const pattern of wanted) expect(output).toMatch(pattern);
});
