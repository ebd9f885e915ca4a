import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { expect, it, onTestFinished } from "vitest";
import { connectDashboard, JWT_SECRET, signToken } from "../support/dashboard.ts";
import { addCamera } from "../support/devices.ts";
import { NODE_24 } from "../support/other-runtimes.ts";
import { installRpicamStill } from "../support/rpicam-still.ts";
import { makeDataPath, removeDataPath, startSkylapse } from "../support/skylapse.ts";

const CAMERA = fileURLToPath(new URL("../../dist/device/main.js", import.meta.url));

it("runs the built server and the camera program under Node.js 24 without a warning", async () => {
  expect(spawnSync(NODE_24, ["--version"], { encoding: "utf8" }).stdout).toMatch(/^v24\./);
  const dataPath = makeDataPath();
  onTestFinished(() => removeDataPath(dataPath));
  const CAMERA_SECRET = await addCamera(dataPath, "west");
  const server = await startSkylapse({ dataPath, node: NODE_24, asBuilt: true, env: { JWT_SECRET } });
  onTestFinished(async () => {
    await server.end("SIGKILL");
  });
  expect((await fetch(`${server.http}/readyz`)).status).toBe(200);

  const dashboard = await connectDashboard(server.socket);
  onTestFinished(() => dashboard.close());
  dashboard.send({ type: "auth", token: signToken("alice", ["dashboard:read"]) });
  await dashboard.next("auth_success");
  dashboard.send({ type: "subscribe", channel: "dashboard" });
  await dashboard.next("caught_up");
  const place = makeDataPath();
  onTestFinished(() => removeDataPath(place));
  const grey = { create: { width: 320, height: 240, channels: 3, background: "grey" } } as const;
  installRpicamStill(place, await sharp(grey).jpeg().toBuffer());
  const camera = spawn(NODE_24, [CAMERA], {
    env: {
      ...{ CAMERA_ID: "west", CAMERA_SECRET, BROKER_URL: server.mqtt, LOG_LEVEL: "fatal" },
      ...{ LOCATION_LAT: "46", LOCATION_LON: "7.7", CAPTURE_INTERVAL_S: "1", CAMERA_DRIVER: "rpicam" },
      ...{ PATH: [place, process.env.PATH].join(delimiter), DATA_PATH: join(place, "data") },
    },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let cameraErrors = "";
  camera.stderr.setEncoding("utf8").on("data", (text: string) => {
    cameraErrors += text;
  });
  const closed = once(camera, "close");
  onTestFinished(() => {
    camera.kill("SIGKILL");
  });
  const { data } = await dashboard.next(
    "dashboard_event",
    ({ event, camera: id }) => event === "capture.completed" && id === "west",
  );
  expect(data).toMatchObject({ width: 320, height: 240 });
  camera.kill("SIGTERM");
  await closed;
  expect({ code: camera.exitCode, errors: cameraErrors }).toEqual({ code: 0, errors: "" });
  expect({ code: await server.end(), errors: server.errors() }).toEqual({ code: 0, errors: "" });
});
