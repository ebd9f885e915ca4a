import { setTimeout as pause } from "node:timers/promises";
import mqtt from "mqtt";
import { type Dashboard, openDashboard, signToken } from "../../support/dashboard.ts";
import type { Skylapse } from "../../support/skylapse.ts";

/** Between two events: one that is seen makes room for the next, so that the program has time for its attackers. */
const PAUSE_MS = 20;

/** A camera and a dashboard that mean well, beside all that does not. */
export interface Witness {
  /** Ends both. @returns what the dashboard saw, and the longest time from an event to its arrival */
  finish(): Promise<{ published: number; seen: number[]; slowestMs: number }>;
}

export async function startWitness({ mqtt: broker, socket }: Skylapse): Promise<Witness> {
  const camera = mqtt.connect(broker, {
    clientId: "witness",
    username: "witness",
    password: signToken("witness", ["device:witness"], 7200),
    reconnectPeriod: 0,
  });
  await new Promise<void>((resolve, reject) => camera.once("connect", () => resolve()).once("error", reject));
  const dashboard: Dashboard = await openDashboard(
    socket,
    signToken("watcher", ["camera:witness:read"], 7200),
    "camera:witness",
  );
  const seen: number[] = [];
  let arrived = () => {};
  dashboard.socket.on("message", (data) => {
    const message = JSON.parse(String(data));
    if (message.type !== "dashboard_event" || message.event !== "capture.completed") return;
    seen.push(message.data.n);
    arrived();
  });
  let running = true;
  let published = 0;
  let slowestMs = 0;
  const lost = Promise.race([
    dashboard.closed.then((code) => {
      if (running) throw new Error(`the dashboard beside was closed with ${code}`);
    }),
    new Promise<never>((_, reject) =>
      camera.once("close", () => running && reject(new Error("the camera beside was disconnected"))),
    ),
  ]);
  lost.catch(() => {});
  const work = (async () => {
    while (running) {
      const started = performance.now();
      const arrival = new Promise<void>((resolve) => {
        arrived = resolve;
      });
      published++;
      const body = JSON.stringify({ n: published });
      await Promise.race([
        camera.publishAsync("skylapse/v1/cameras/witness/events/capture.completed", body, { qos: 1 }),
        lost,
      ]);
      await Promise.race([arrival, lost]);
      slowestMs = Math.max(slowestMs, performance.now() - started);
      // What the dashboard keeps of all it was told is not the subject.
      dashboard.messages.length = 0;
      await pause(PAUSE_MS);
    }
  })();
  work.catch(() => {});
  return {
    finish: async () => {
      running = false;
      await work;
      await Promise.all([camera.endAsync(), dashboard.close()]);
      return { published, seen, slowestMs };
    },
  };
}
