import type { MqttClient } from "mqtt";

/** The id of a camera of a test's fleet: `cam-007`. */
export const fleetCameraId = (index: number): string => `cam-${String(index).padStart(3, "0")}`;

/** Publishes a retained state of a camera. */
export async function publishState(gateway: MqttClient, camera: string, topic: string, data: unknown): Promise<void> {
  await gateway.publishAsync(`skylapse/v1/cameras/${camera}/${topic}`, JSON.stringify(data), { qos: 1, retain: true });
}

/** Publishes what a camera of a test's fleet is, its storage and its battery. */
export async function announceCamera(gateway: MqttClient, index: number): Promise<void> {
  const id = fleetCameraId(index);
  const about = { model: "m", firmware: "f", name: `Ridge ${index}`, capture_interval_s: 60 };
  await Promise.all([
    publishState(gateway, id, "about", { ...about, location: { lat: 46, lon: 8, timezone: "Europe/Zurich" } }),
    publishState(gateway, id, "state/storage", { total_bytes: 1000, free_bytes: 1000 - ((index * 7) % 80) * 10 }),
    publishState(gateway, id, "state/power", { source: "battery", battery_percent: 20 + ((index * 13) % 80) }),
  ]);
}

interface Rate {
  perSecond: number;
  seconds: number;
  /** The number of cameras, which send in turn. */
  cameras: number;
}

/** Publishes events of all cameras in turn; each fourth one is a state. @returns how many were sent */
export async function sendEvents(gateway: MqttClient, { perSecond, seconds, cameras }: Rate): Promise<number> {
  const begin = performance.now();
  let sent = 0;
  // Many publications wait for the socket at the same time.
  gateway.stream.setMaxListeners(0);
  while (sent < perSecond * seconds) {
    const due = Math.min(perSecond * seconds, ((performance.now() - begin) / 1000) * perSecond);
    const last: Promise<unknown>[] = [];
    for (; sent < due; sent++) {
      const id = fleetCameraId(sent % cameras);
      last.push(
        sent % 4 === 0
          ? publishState(gateway, id, "state/environment", { sun_elevation: sent % 90, sun_azimuth: 10 })
          : gateway.publishAsync(`skylapse/v1/cameras/${id}/events/tick`, JSON.stringify({ n: sent }), { qos: 0 }),
      );
    }
    await Promise.all(last);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return sent;
}
