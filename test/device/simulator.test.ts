import { expect, onTestFinished, test } from "vitest";
import { startSimulator } from "../../device/simulator.ts";
import { startRunningClock } from "../support/running-clock.ts";
import { openBroker, silent, tree } from "./support/cameras.ts";

test("the simulator starts its cameras and its service with pictures, and stops quickly", {
  timeout: 150_000,
}, async () => {
  const broker = await openBroker();
  const place = { lat: 46.02, lon: 7.75, timezone: "Europe/Zurich" };
  const simulator = await startSimulator({
    brokerUrl: broker.url,
    topicRoot: tree.root,
    cameras: [
      { id: "north", secret: "a", name: "North", ...place },
      { id: "south", secret: "b", name: "South", ...place },
    ],
    service: { id: "timelapse", secret: "c" },
    captureIntervalS: 1,
    // Small pictures, because other tests use the machine too.
    width: 320,
    logger: silent,
  });
  onTestFinished(() => simulator.stop());
  const usernames = await broker.until(
    () => broker.connects.length === 3 && broker.connects.map(({ username }) => username),
  );
  expect(usernames.sort()).toEqual(["north", "south", "timelapse"]);
  for (const camera of ["north", "south"]) {
    await broker.until(
      () =>
        broker.received.some(({ topic, payload }) => {
          const parsed = tree.parse(topic);
          return parsed?.kind === "camera-preview" && parsed.camera === camera && payload.length <= 65_536;
        }),
      60_000,
    );
  }
  const elapsedMs = startRunningClock();
  await Promise.all([simulator.stop(), simulator.stop()]);
  expect(elapsedMs()).toBeLessThan(10_000);
  for (const topic of [
    tree.build({ kind: "camera-link", camera: "north" }),
    tree.build({ kind: "camera-link", camera: "south" }),
    tree.build({ kind: "service-link", service: "timelapse" }),
  ])
    expect(broker.retained(topic)?.toString()).toContain('"status":"offline"');
});
