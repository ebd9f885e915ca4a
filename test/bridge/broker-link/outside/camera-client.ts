import { connectAsync, type IClientOptions, type MqttClient } from "mqtt";
import { ulid } from "ulid";

/** What an envelope of a camera contains. */
export interface EnvelopeOptions {
  event: string;
  data: unknown;
  session?: string;
  seq?: number;
  at?: Date;
}

export function envelope({ event, data, session = "boot-1", seq, at = new Date() }: EnvelopeOptions): string {
  const id = ulid(at.getTime());
  return JSON.stringify({ v: 1, id, timestamp: at.toISOString(), session, seq, event, data });
}

export const cameraTopic = (camera: string, rest: string) => `skylapse/v1/cameras/${camera}/${rest}`;

/** A camera at any broker: its will, its birth, and its events. */
export class CameraClient {
  readonly client: MqttClient;
  readonly #camera: string;
  readonly #session: string;
  #seq = 0;
  readonly commands: { topic: string; payload: string }[] = [];

  private constructor(client: MqttClient, camera: string, session: string) {
    this.client = client;
    this.#camera = camera;
    this.#session = session;
    client.on("message", (topic, payload) => this.commands.push({ topic, payload: String(payload) }));
  }

  /** Connects, subscribes to commands and publishes the birth. */
  static async connect(url: string, camera: string, session = "boot-1", options: IClientOptions = {}) {
    const will = {
      ...{ topic: cameraTopic(camera, "link"), qos: 1 as const, retain: true },
      payload: Buffer.from(envelope({ event: "camera.offline", data: { status: "offline", session }, session })),
    };
    const client = await connectAsync(url, { clientId: `camera-${camera}`, reconnectPeriod: 0, will, ...options });
    const joined = new CameraClient(client, camera, session);
    await client.subscribeAsync(cameraTopic(camera, "commands/+"), { qos: 1 });
    await joined.link("online");
    return joined;
  }

  async link(status: "online" | "offline" | "sleeping", more: object = {}): Promise<void> {
    const data = { status, session: this.#session, ...more };
    await this.publish("link", envelope({ event: `camera.${status}`, data, session: this.#session }), true);
  }

  /** Publishes a numbered event. */
  async event(event: string, data: unknown): Promise<void> {
    const seq = ++this.#seq;
    await this.publish(`events/${event}`, envelope({ event, data, session: this.#session, seq }));
  }

  async publish(rest: string, payload: string | Buffer, retain = false): Promise<void> {
    await this.client.publishAsync(cameraTopic(this.#camera, rest), payload, { qos: 1, retain });
  }

  /** Cuts the connection, so that the broker publishes the will. */
  cut(): void {
    this.client.stream.destroy();
  }
}
