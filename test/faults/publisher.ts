import mqtt, { type MqttClient } from "mqtt";
import { signToken } from "../support/dashboard.ts";

const IN_FLIGHT = 20;
const RECONNECT_MS = 50;

/**
 * Publishes numbered events, each until it is acknowledged, over as many connections as needed. Resends unacknowledged
 * events itself, in order: MQTT.js gives up its store if the connection is cut while MQTT.js resends from the store.
 */
export class Publisher {
  readonly acknowledged = new Set<number>();
  readonly done: Promise<void>;
  readonly #url: string;
  readonly #camera: string;
  readonly #total: number;
  readonly #waiting = new Set<number>();
  #next = 0;
  #client: MqttClient | undefined;
  #done: (() => void) | undefined;
  #stopped = false;

  constructor(url: string, camera: string, total: number) {
    this.#url = url;
    this.#camera = camera;
    this.#total = Math.floor(total);
    this.done = new Promise((resolve) => {
      this.#done = resolve;
    });
    this.#connect();
  }

  stop(): void {
    this.#stopped = true;
    this.#client?.end(true);
  }

  #connect(): void {
    if (this.#stopped) return;
    const password = signToken(this.#camera, [`device:${this.#camera}`]);
    const client = mqtt.connect(this.#url, {
      clientId: `publisher-${this.#camera}`,
      username: this.#camera,
      password,
      reconnectPeriod: 0,
    });
    this.#client = client;
    client.on("error", () => {});
    client.on("connect", () => {
      for (const n of this.#waiting) this.#publish(client, n);
      this.#fill(client);
    });
    client.on("close", () => setTimeout(() => this.#connect(), RECONNECT_MS));
  }

  #fill(client: MqttClient): void {
    while (this.#next < this.#total && this.#waiting.size < IN_FLIGHT) {
      this.#waiting.add(++this.#next);
      this.#publish(client, this.#next);
    }
  }

  #publish(client: MqttClient, n: number): void {
    const event = "capture.completed";
    const timestamp = new Date().toISOString();
    const session = this.#camera;
    const envelope = { v: 1, id: `${session}-${n}`, timestamp, session, seq: n, event, data: { n } };
    const topic = `skylapse/v1/cameras/${this.#camera}/events/${event}`;
    client.publish(topic, JSON.stringify(envelope), { qos: 1 }, (error) => {
      // The connection was cut before the acknowledgement, so the next connection sends the event again.
      if (error) return;
      this.#waiting.delete(n);
      this.acknowledged.add(n);
      if (this.acknowledged.size === this.#total) this.#done?.();
      else if (client.connected) this.#fill(client);
    });
  }
}
