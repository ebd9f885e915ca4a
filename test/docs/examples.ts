import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { afterAll, beforeAll, expect } from "vitest";
import { PYTHON } from "../support/programs.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";
import { BUNDLED_COMMAND } from "../support/skylapse-command.ts";
import { ROOT, readPage } from "./pages.ts";

/** A code block below `<!-- tried: name -->`: indentation (in a list), name, language, code. */
const EXAMPLE = /^( *)<!-- tried: ([^>]+?) -->\n *```(\w+)\n([\s\S]*?)\n *```$/gm;

/** The names of the examples that a page marks with `tried`. */
export function exampleNames(page: string): string[] {
  return [...readPage(page).matchAll(EXAMPLE)].map(([, , name = ""]) => name);
}

export function readExample(page: string, name: string): { language: string; code: string } {
  for (const [, indent = "", found, language = "", printed = ""] of readPage(page).matchAll(EXAMPLE)) {
    if (found === name) return { language, code: printed.replaceAll(new RegExp(`^${indent}`, "gm"), "") };
  }
  throw new Error(`${page} has no example "${name}"`);
}

export interface Examples {
  /** Runs an example until its output matches every pattern, or until the example ends. @returns the output */
  outputOf(page: string, name: string, expected: readonly RegExp[]): Promise<string>;
}

/**
 * Starts the program with a simulated camera for the tests of a file, and stops it after them.
 * @param settings further settings of the program. Default: none
 */
export function setUpExamples(settings: Readonly<Record<string, string>> = {}): Examples {
  const dataPath = makeDataPath();
  const folder = makeDataPath();
  let skylapse: Skylapse;

  beforeAll(async () => {
    const env = { SIMULATOR: "1", CAPTURE_INTERVAL_S: "1", ARCHIVE: "on", ...settings };
    skylapse = await startSkylapse({ dataPath, env });
  });
  afterAll(async () => {
    await skylapse.end();
    removeDataPath(dataPath);
    removeDataPath(folder);
  });

  /** Starts an example with the ports and the data of the test, and without the delay of npx. */
  function start(page: string, name: string): ChildProcess {
    const { language, code: printed } = readExample(page, name);
    const code = printed
      .replaceAll("8082", new URL(skylapse.http).port)
      .replaceAll("1883", new URL(skylapse.mqtt).port)
      .replaceAll("8083", new URL(skylapse.mqttWs).port)
      .replaceAll("./data", dataPath)
      .replaceAll("npx skylapse", `"${process.execPath}" "${BUNDLED_COMMAND}"`);
    const programs: Record<string, [string, string[]]> = {
      python: [PYTHON, ["-u", "-c", code]],
      js: [process.execPath, ["--input-type=module", "-e", code]],
      sh: ["bash", ["-c", code]],
    };
    const [command, args] = programs[language] ?? expect.fail(`examples in ${language} are not run`);
    const env = { PATH: process.env.PATH, DATA_PATH: dataPath, WS_PORT: new URL(skylapse.http).port };
    // In a new process group, so that the children of a shell end with the shell.
    const options = { cwd: language === "js" ? ROOT : folder, env, detached: true } as const;
    return spawn(command, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  }

  return {
    async outputOf(page, name, expected) {
      const child = start(page, name);
      let output = "";
      const closed = once(child, "close");
      const complete = new Promise<void>((resolve) => {
        const read = (chunk: unknown) => {
          output += String(chunk);
          if (expected.every((pattern) => pattern.test(output))) resolve();
        };
        child.stdout?.on("data", read);
        child.stderr?.on("data", read);
      });
      await Promise.race([complete, closed]);
      if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      await closed;
      return output;
    },
  };
}
