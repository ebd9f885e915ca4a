import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PYTHON } from "../support/programs.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";
import { COMMAND } from "../support/skylapse-command.ts";

const README = readFileSync(fileURLToPath(new URL("../../README.md", import.meta.url)), "utf8");

let skylapse: Skylapse;
const dataPath = makeDataPath();

beforeAll(async () => {
  skylapse = await startSkylapse({ dataPath, env: { SIMULATOR: "1", CAPTURE_INTERVAL_S: "1" } });
});

afterAll(async () => {
  await skylapse.end();
  removeDataPath(dataPath);
});

/** A code block of the README as it is written, but for ports and data, which are the test's own, and the time npx takes. */
function example(name: string): { language: string; code: string } {
  const found = new RegExp(`<!-- tried: ${name} -->\\n\`\`\`(\\w+)\\n([\\s\\S]*?)\\n\`\`\``).exec(README);
  if (found?.[1] === undefined || found[2] === undefined) throw new Error(`the README has no example "${name}"`);
  const code = found[2]
    .replaceAll("8082", new URL(skylapse.http).port)
    .replaceAll("1883", new URL(skylapse.mqtt).port)
    .replaceAll("./data", dataPath)
    .replaceAll("npx skylapse", `"${process.execPath}" "${COMMAND}"`);
  return { language: found[1], code };
}

function run({ language, code }: { language: string; code: string }): ChildProcess {
  const [command, args] = language === "python" ? [PYTHON, ["-u", "-c", code]] : ["bash", ["-c", code]];
  // A group of its own, so that what a shell started ends with it.
  const env = { PATH: process.env.PATH, DATA_PATH: dataPath, WS_PORT: new URL(skylapse.http).port };
  return spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], detached: true, env });
}

/** What an example prints until it has printed `wanted`, or ended. */
async function outputOf(name: string, wanted: RegExp): Promise<string> {
  const child = run(example(name));
  let output = "";
  const closed = once(child, "close");
  const seen = new Promise<void>((resolve) => {
    const look = (chunk: unknown) => {
      output += String(chunk);
      if (wanted.test(output)) resolve();
    };
    child.stdout?.on("data", look);
    child.stderr?.on("data", look);
  });
  await Promise.race([seen, closed]);
  if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  await closed;
  return output;
}

describe("the README's examples do what they say", () => {
  it.each([
    ["token", /"token":"ey[\s\S]*"user_id":"mountain_operator"/],
    ["health", /"status":"healthy"[\s\S]*"total_connections"/],
    ["broadcast", /"sent_to":\d+[\s\S]*"channel":"dashboard"/],
    ["websocket", /auth_success[\s\S]*subscription_result[\s\S]*capture\.completed/],
    ["mosquitto", /skylapse\/v1\/cameras\/north\/events\/capture\.completed \{/],
    ["paho", /skylapse\/v1\/cameras\/north\/events\/capture\.completed \{/],
    ["command", /"status":"succeeded"/],
    [
      "command-line",
      /^alice\tadmin\n\S{43}\nnorth\t\S+\nwest\t\S+\ney\S+\nok +Node\.js[\s\S]*operator key +the server takes it/,
    ],
    ["log-in", /^\{"cameras":\[\{"id":"north"[\s\S]*"code":"unauthorized"/],
    ["revoke", /"message":"The token was revoked"/],
  ])("%s", async (name, wanted) => {
    expect(await outputOf(name, wanted)).toMatch(wanted);
  });
});
