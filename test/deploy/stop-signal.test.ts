import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as wait } from "node:timers/promises";
import { afterEach, expect, it } from "vitest";
import { bundled } from "../support/bundled.ts";
import { freePort } from "../support/ports.ts";
import { makeDataPath, removeDataPath } from "../support/skylapse.ts";

const PROGRAM = bundled("deploy/start.js");
/** Prints when the program begins to handle SIGTERM. */
const WATCH_HANDLERS = `data:text/javascript,${encodeURIComponent(`
  process.on("newListener", (name) => { if (name === "SIGTERM") console.log("handles SIGTERM"); });
`)}`;

const dataPath = makeDataPath();
let child: ChildProcess | undefined;
afterEach(() => {
  child?.kill("SIGKILL");
  removeDataPath(dataPath);
});

/** Polls every millisecond, because the awaited moment of the start may be short. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await wait(1);
}

const moments: Record<string, (output: () => string, port: number) => Promise<void>> = {
  "as soon as the process handles signals": (output) => until(() => output().includes("handles SIGTERM")),
  "when the first line is logged": (output) => until(() => output().includes('"msg"')),
  "as soon as /readyz answers, while the simulator starts": (_, port) =>
    until(() =>
      fetch(`http://127.0.0.1:${port}/readyz`).then(
        ({ ok }) => ok,
        () => false,
      ),
    ),
  "when it is ready": (output) => until(() => output().includes('"msg":"ready"')),
};

it.each(Object.keys(moments))("SIGTERM ends the server with exit code 0 %s", async (moment) => {
  const port = await freePort();
  const program = spawn(process.execPath, ["--import", WATCH_HANDLERS, PROGRAM], {
    env: {
      ...{ PATH: process.env.PATH, DATA_PATH: dataPath, SIMULATOR: "1", SIMULATOR_WIDTH: "320" },
      ...{ WS_PORT: String(port), MQTT_PORT: "0", MQTT_WS_PORT: "0" },
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  child = program;
  let output = "";
  program.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    output += chunk;
  });
  const ended = once(program, "exit");
  await moments[moment]?.(() => output, port);
  program.kill("SIGTERM");
  expect([...(await ended), output]).toEqual([0, null, expect.any(String)]);
});
