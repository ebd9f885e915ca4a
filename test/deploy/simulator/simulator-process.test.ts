import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterEach, expect, it } from "vitest";
import type { SimulatorStartMessage } from "../../../deploy/simulator/simulate.ts";
import { freePort } from "../../support/ports.ts";
import { makeDataPath, removeDataPath } from "../../support/skylapse.ts";

const PROGRAM = fileURLToPath(new URL("../../../dist/deploy/simulator/simulate.js", import.meta.url));
const dataPath = makeDataPath();
let simulator: ChildProcess;

afterEach(() => {
  simulator.kill("SIGKILL");
  removeDataPath(dataPath);
});

async function startMessage(): Promise<SimulatorStartMessage> {
  const place = { lat: 46.5, lon: 8, timezone: "Europe/Zurich" };
  return {
    brokerUrl: `mqtt://127.0.0.1:${await freePort()}`,
    topicRoot: "skylapse",
    cameras: ["north", "south"].map((id) => ({ id, secret: "secret of the test", name: id, ...place })),
    service: { id: "processing", secret: "secret of the test" },
    captureIntervalS: 1,
    width: 320,
    dataPath,
    logLevel: "silent",
    logFormat: "json",
  };
}

// `disconnect` closes the channel to the backend, as `kill -9` of the backend would at any time.
it.each([
  ["before the first message", []],
  ["while it starts", ["message"]],
  ["while its cameras run", ["message", "started"]],
])("exits if its backend has died %s", async (_, steps) => {
  simulator = fork(PROGRAM, { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const ended = once(simulator, "exit");
  if (steps.includes("message")) simulator.send(await startMessage());
  if (steps.includes("started")) await once(simulator, "message");
  simulator.disconnect();
  expect(await ended).toEqual([0, null]);
});
