import { connectAsync } from "mqtt";
import sharp from "sharp";
import { ulid } from "ulid";
import { SimulatedCamera } from "../../device/simulator/simulated-camera.ts";

export interface PastPicturesOptions {
  /** `mqtt://…` */
  broker: string;
  /** With the permission `device:{camera}`. */
  token: string;
  camera: string;
  location: { lat: number; lon: number; timezone: string };
  /** The age of the oldest picture, and the interval between pictures. */
  hours: number;
  everyMinutes: number;
  /** The age of the newest picture, hours. Default 0. */
  until?: number;
  /** The width of a picture, pixels. The height is three quarters of the width. Default 400. */
  width?: number;
  /** Begin and end of an outage without pictures, in hours before now. */
  without?: { from: number; to: number };
}

/** Sends the pictures of a simulated camera for the last hours, like a backlog. */
export async function sendPastPictures(options: PastPicturesOptions): Promise<void> {
  const { broker, token, camera, location, hours, everyMinutes, until = 0, width = 400, without } = options;
  const driver = new SimulatedCamera({ location, seed: camera, width, height: (width * 3) / 4 });
  const client = await connectAsync(broker, { username: "past", password: token, clientId: `past-${camera}` });
  const now = Date.now();
  for (let minutes = hours * 60; minutes > until * 60; minutes -= everyMinutes) {
    if (without !== undefined && minutes / 60 <= without.from && minutes / 60 >= without.to) continue;
    const at = now - minutes * 60_000;
    const { jpeg } = await driver.capture({}, new Date(at));
    const preview = await sharp(jpeg).jpeg({ quality: 80 }).toBuffer();
    const topic = `skylapse/v1/cameras/${camera}/previews/${ulid(at).toLowerCase()}`;
    await client.publishAsync(topic, preview, { qos: 1 });
  }
  await driver.stop?.();
  await client.endAsync();
}
