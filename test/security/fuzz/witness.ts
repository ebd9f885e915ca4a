import { setTimeout as pause } from "node:timers/promises";
import mqtt from "mqtt";
import { type Dashboard, openDashboard, signToken } from "../../support/dashboard.ts";
import type { Skylapse } from "../../support/skylapse.ts";

/** The pause between the arrival of an event and the next event. It leaves the program time for the attack. */
const PAUSE_MS = 20;

/** A well-behaved camera, dashboard and MQTT subscriber that run during an attack. */
export interface Witness {
  /**
   * Ends the clients.
   * @returns the events of each client, and the longest time from a publication to the arrival at both receivers
   */
  finish(): Promise<{ published: number; dashboard: number[]; subscriber: number[]; slowestMs: number }>;
}

const TOPIC = "skylapse/v1/cameras/witness/events/capture.completed";

export async function startWitness({ mqtt: broker, socket }: Skylapse): Promise<Witness> {
  const connect = (username: string, permission: string) =>
    mqtt.connectAsync(broker, {
      clientId: username,
      username,
      password: signToken(username, [permission], 7200),
      reconnectPeriod: 0,
    });
  const camera = await connect("witness", "device:witness");
  const subscriber = await connect("subscriber", "camera:witness:read");
  await subscriber.subscribeAsync(TOPIC, { qos: 1 });
  const dashboard: Dashboard = await openDashboard(
    socket,
    signToken("watcher", ["camera:witness:read"], 7200),
    "camera:witness",
  );
  const seen = { dashboard: [] as number[], subscriber: [] as number[] };
  let arrived = () => {};
  const see = (by: "dashboard" | "subscriber", n: number) => {
    seen[by].push(n);
    if (seen.dashboard.length === seen.subscriber.length) arrived();
  };
  dashboard.socket.on("message", (data) => {
    const message = JSON.parse(String(data));
    if (message.type !== "dashboard_event" || message.event !== "capture.completed") return;
    see("dashboard", message.data.n);
  });
  subscriber.on("message", (_topic, payload) => see("subscriber", JSON.parse(payload.toString()).n));
  let running = true;
  let published = 0;
  let slowestMs = 0;
  const lost = Promise.race([
    dashboard.closed.then((code) => {
      if (running) throw new Error(`the dashboard of the witness was closed with ${code}`);
    }),
    new Promise<never>((_, reject) => {
      for (const [name, client] of Object.entries({ camera, subscriber }))
        client.once("close", () => running && reject(new Error(`the ${name} of the witness was disconnected`)));
    }),
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
      await Promise.race([camera.publishAsync(TOPIC, body, { qos: 1 }), lost]);
      await Promise.race([arrival, lost]);
      slowestMs = Math.max(slowestMs, performance.now() - started);
      // Drops the messages that the dashboard has stored, because only `seen` is needed.
      dashboard.messages.length = 0;
      await pause(PAUSE_MS);
    }
  })();
  work.catch(() => {});
  return {
    finish: async () => {
      running = false;
      await work;
      await Promise.all([camera.endAsync(), subscriber.endAsync(), dashboard.close()]);
      return { published, ...seen, slowestMs };
    },
  };
}
