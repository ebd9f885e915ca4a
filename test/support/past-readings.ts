const HOUR_MS = 3_600_000;

/**
 * Publishes what a camera measured in the last day, as a camera does after an outage: environment, power, storage, the
 * settings of its pictures, and an error two hours ago.
 * @param publish publishes below the camera's topic
 */
export async function sendPastReadings(publish: (topic: string, envelope: object) => Promise<unknown>): Promise<void> {
  const now = Date.now();
  let readings = 0;
  const send = (topic: string, event: string, hoursAgo: number, data: object) => {
    const timestamp = new Date(now - hoursAgo * HOUR_MS).toISOString();
    return publish(topic, { v: 1, id: `reading-${++readings}`, timestamp, event, data, historical: hoursAgo > 0 });
  };
  for (let hour = 23; hour >= 0; hour--) {
    const warmth = Math.sin((hour / 24) * 2 * Math.PI);
    const environment = { sun_elevation: 20 * warmth, sun_azimuth: hour * 15, temperature_c: 4 + 9 * warmth };
    await send("state/environment", "environmental.update", hour, { ...environment, humidity_percent: 60 });
    const power = { source: warmth > 0 ? "solar" : "battery", battery_percent: 60 + 30 * warmth };
    await send("state/power", "resource.update", hour, power);
    await send("state/storage", "resource.update", hour, { total_bytes: 64e9, free_bytes: 40e9 - hour * 1e8 });
    const settings = { exposure_s: 1 / (60 + 50 * hour), iso: 100, white_balance: "daylight" };
    const size = { width: 4656, height: 3496, size_bytes: 4_100_000 };
    await send("events/capture.completed", "capture.completed", hour, { capture: `c${hour}`, ...size, settings });
  }
  await send("events/error.occurred", "error.occurred", 2, { source: "shutter", error: "the shutter is frozen" });
}
