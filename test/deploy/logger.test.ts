import { execFileSync, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";
import { runCommand } from "../support/skylapse-command.ts";

const OPERATOR_KEY = "operator-key-of-the-tests";
const LOGGER = new URL("../../dist/deploy/logger.js", import.meta.url).href;

let server: Skylapse | undefined;
const dataPath = makeDataPath();
afterEach(async () => {
  await server?.end();
  server = undefined;
  removeDataPath(dataPath);
});

/** Runs a program that opens a log and prints to it. */
function printed(program: string, format: "json" | "text"): string {
  const code = `const { openLog } = await import(${JSON.stringify(LOGGER)}); const log = await openLog({ level: "info", format: "${format}" }); ${program}`;
  return execFileSync(process.execPath, ["--input-type=module", "-e", code], { encoding: "utf8" });
}

describe("the log", () => {
  it("has the level as a word and the time as RFC 3339", () => {
    const line = JSON.parse(printed('log.info({ camera: "north" }, "hello")', "json"));
    expect(line).toEqual({
      level: "info",
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      camera: "north",
      msg: "hello",
    });
  });

  it("applies a new level to all existing loggers and their child loggers", () => {
    const program = `
      const part = log.child({ part: "a" }), inner = part.child({ inner: 1 });
      part.debug("before"); log.level = "debug"; part.debug("part"); inner.debug("inner"); part.child({}).debug("new"); log.debug("root");
      log.level = "warn"; inner.info("after");`;
    const lines = printed(program, "json").trim().split("\n");
    expect(lines.map((line) => JSON.parse(line).msg)).toEqual(["part", "inner", "new", "root"]);
  });

  it("has lines for people if LOG_FORMAT is text, including the lines of the simulator", async () => {
    const child = spawn(process.execPath, [fileURLToPath(new URL("../../dist/deploy/start.js", import.meta.url))], {
      env: {
        ...{ PATH: process.env.PATH, DATA_PATH: dataPath, SIMULATOR: "1", SIMULATOR_WIDTH: "320", LOG_FORMAT: "text" },
        ...{ WS_PORT: "0", MQTT_PORT: "0", MQTT_WS_PORT: "0" },
      },
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      output += chunk;
    });
    await expect.poll(() => output).toMatch(/Ctrl-C[\s\S]*link up/);
    child.kill("SIGTERM");
    await expect.poll(() => child.exitCode).toBe(0);
    expect(output).toMatch(/^ {2}Dashboard +http:/m);
    expect(output).not.toMatch(/^\{/m);
  });
});

it("skylapse log-level shows and changes the level of a running server", async () => {
  server = await startSkylapse({ dataPath, env: { OPERATOR_KEY, LOG_LEVEL: "info" } });
  const env = { OPERATOR_KEY, SKYLAPSE_URL: server.http };
  expect(await runCommand(env, ["log-level"])).toMatchObject({ code: 0, output: "info" });
  expect(server.output()).not.toContain('"level":"debug"');
  expect(await runCommand(env, ["log-level", "debug"])).toMatchObject({ code: 0, output: "debug" });
  await fetch(`${server.http}/cameras`);
  await expect.poll(() => server?.output()).toContain('"level":"debug"');
  expect(await runCommand(env, ["log-level", "loud"])).toMatchObject({ code: 2 });
});
