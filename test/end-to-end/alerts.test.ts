import { afterEach, expect, it } from "vitest";
import { alertSchema } from "../../contract/events.ts";
import type { DashboardEvent } from "../../contract/socket-messages.ts";
import { startCameraProgram } from "../support/camera-program.ts";
import { type Dashboard, JWT_SECRET, openDashboard, signToken } from "../support/dashboard.ts";
import { addCamera } from "../support/devices.ts";
import { makeDataPath, removeDataPath, startSkylapse } from "../support/skylapse.ts";

const cleanUps: (() => Promise<unknown> | unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

const words = ({ messages }: Dashboard): DashboardEvent[] =>
  messages.filter(
    (message): message is DashboardEvent =>
      message.type === "dashboard_event" && message.topic === "cameras/north/alerts/no-capture",
  );

it("the server raises one alert for a camera without pictures, shows it to later subscribers, and clears it at the next picture", async () => {
  const dataPath = makeDataPath();
  cleanUps.push(() => removeDataPath(dataPath));
  const secret = await addCamera(dataPath, "north");
  const skylapse = await startSkylapse({
    dataPath,
    env: { JWT_SECRET, LOG_LEVEL: "warn", ALERT_NO_CAPTURE_SECONDS: "5" },
  });
  cleanUps.push(() => skylapse.end());
  const watch = async (): Promise<Dashboard> => {
    const opened = await openDashboard(skylapse.socket, signToken("alice", ["alerts:read"]), "alerts");
    cleanUps.push(() => opened.close());
    return opened;
  };
  const dashboard = await watch();
  const camera = await startCameraProgram({ brokerUrl: skylapse.mqtt, secret });
  cleanUps.push(() => camera.end());
  const takeMore = async (count: number): Promise<void> => {
    const before = camera.captures().length;
    await expect.poll(() => camera.captures().length).toBeGreaterThanOrEqual(before + count);
  };
  await takeMore(2);
  expect(words(dashboard)).toEqual([]);

  camera.camera("hang");
  await expect.poll(() => words(dashboard)).toHaveLength(1);
  const [raised] = words(dashboard);
  expect(raised).toMatchObject({ event: "alert.raised", camera: "north", channel: "alerts" });
  expect(alertSchema.parse(raised?.data)).toEqual({
    alert: "no-capture",
    severity: "critical",
    message: "No picture for more than 5 s, though the schedule asks for one every 1 s",
  });
  const late = await watch();
  await expect.poll(() => words(late)).toMatchObject([{ event: "alert.raised", snapshot: true }]);

  camera.camera("work");
  await expect.poll(() => words(dashboard)).toHaveLength(2);
  await takeMore(3);
  const ends = [{ event: "alert.raised" }, { event: "alert.cleared" }];
  expect(words(dashboard)).toMatchObject(ends);
  expect(words(late)).toMatchObject(ends);
});
