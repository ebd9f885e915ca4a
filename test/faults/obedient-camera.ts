import mqtt, { type MqttClient } from "mqtt";
import { expect } from "vitest";
import { z } from "zod";
import { type RoundRobin, startRoundRobin } from "../support/round-robin.ts";

/** A silent connection is noticed after at most two intervals. */
const KEEPALIVE_S = 3;
const CONNECT_TIMEOUT_MS = 1_500;
const RECONNECT_MS = 100;
const CAPTURE_INTERVAL_MS = 500;
/** How long a command takes. */
export const ACTION_MS = 200;
const SESSION = "boot-1";

const commandSchema = z.object({ id: z.string(), issued_at: z.string() });

/** A command that the camera has carried out. Times are milliseconds since 1970. */
export interface Executed {
  id: string;
  issuedAt: number;
  startedAt: number;
}

/**
 * A camera with a will, which publishes numbered captures and carries out each command once. It has its own way to the
 * nodes: each new connection goes to the next node.
 */
export class ObedientCamera {
  readonly id: string;
  readonly executed: Executed[] = [];
  /** The numbers of the captures that the server has acknowledged. */
  readonly acknowledged: number[] = [];
  readonly #link: RoundRobin;
  readonly #client: MqttClient;
  readonly #known = new Map<string, Promise<void>>();
  readonly #timer: NodeJS.Timeout;
  /** One command at a time. */
  #working: Promise<void> = Promise.resolve();
  #seq = 0;
  #births = 0;

  private constructor(id: string, secret: string, link: RoundRobin) {
    this.id = id;
    this.#link = link;
    this.#client = mqtt.connect(`mqtt://127.0.0.1:${link.port}`, {
      ...{ clientId: id, username: id, password: secret, clean: true, keepalive: KEEPALIVE_S, resubscribe: false },
      ...{ connectTimeout: CONNECT_TIMEOUT_MS, reconnectPeriod: RECONNECT_MS, manualConnect: true },
      will: { topic: this.#topic("link"), payload: Buffer.from(this.#linkMessage("offline")), qos: 1, retain: true },
    });
    // A refused connection, which the client tries again.
    this.#client.on("error", () => {});
    this.#client.on("connect", () => void this.#connected().catch(() => {}));
    this.#client.on("message", (topic, payload) => this.#take(topic.split("/").at(-1) ?? "", payload));
    this.#timer = setInterval(() => this.#capture(), CAPTURE_INTERVAL_MS);
  }

  static async start(id: string, secret: string, ports: readonly number[]): Promise<ObedientCamera> {
    const link = await startRoundRobin();
    link.setTargets(ports);
    const camera = new ObedientCamera(id, secret, link);
    camera.come();
    return camera;
  }

  get isConnected(): boolean {
    return this.#client.connected;
  }

  /** Births that the server has acknowledged. */
  get births(): number {
    return this.#births;
  }

  /** @param ports of the nodes for new connections */
  use(ports: readonly number[]): void {
    this.#link.setTargets(ports);
  }

  /** Ends the connection without DISCONNECT. The camera connects again. */
  cut(): void {
    this.#client.stream.destroy();
  }

  /** Ends the connection without DISCONNECT, and takes no captures until {@link come} is called. */
  async leave(): Promise<void> {
    await this.#client.endAsync(true);
  }

  come(): void {
    this.#client.reconnect();
  }

  /** The next captures have higher numbers: so many are never sent. @returns the first number that is missing */
  skip(count: number): number {
    const first = this.#seq + 1;
    this.#seq += count;
    return first;
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.leave();
    await this.#link.stop();
  }

  async #connected(): Promise<void> {
    await this.#client.subscribeAsync(this.#topic("commands/+"), { qos: 1 });
    await this.#client.publishAsync(this.#topic("link"), this.#linkMessage("online"), { qos: 1, retain: true });
    this.#births++;
  }

  #capture(): void {
    if (this.#client.disconnecting || this.#client.disconnected) return;
    const seq = ++this.#seq;
    const envelope = {
      ...{ v: 1, id: `${this.id}-${seq}`, timestamp: new Date().toISOString(), session: SESSION, seq },
      ...{ event: "capture.completed", data: { n: seq } },
    };
    this.#client
      .publishAsync(this.#topic("events/capture.completed"), JSON.stringify(envelope), { qos: 1 })
      .then(() => this.acknowledged.push(seq))
      .catch(() => {});
  }

  #take(name: string, payload: Buffer): void {
    const { id, issued_at } = commandSchema.parse(JSON.parse(String(payload)));
    const known = this.#known.get(id);
    if (known !== undefined) {
      // The answer may have been lost with a connection.
      void known.then(() => this.#reply(name, id, "succeeded"));
      return;
    }
    const done = this.#working.then(async () => {
      this.executed.push({ id, issuedAt: Date.parse(issued_at), startedAt: Date.now() });
      this.#reply(name, id, "accepted");
      await new Promise((resolve) => setTimeout(resolve, ACTION_MS));
      this.#reply(name, id, "succeeded");
    });
    this.#known.set(id, done);
    this.#working = done;
  }

  #reply(name: string, id: string, status: "accepted" | "succeeded"): void {
    const reply = JSON.stringify({ command_id: id, status });
    this.#client.publishAsync(this.#topic(`replies/${name}`), reply, { qos: 1 }).catch(() => {});
  }

  #linkMessage(status: "online" | "offline"): string {
    // Without an id: a will is the same for all connections, and none is a repetition of an earlier one.
    return JSON.stringify({ status, session: SESSION });
  }

  #topic(rest: string): string {
    return `skylapse/v1/cameras/${this.id}/${rest}`;
  }
}

/** Connects the camera to this node. Its later connections use all nodes. */
export async function moveTo(
  camera: ObedientCamera,
  { mqttPorts }: { readonly mqttPorts: readonly number[] },
  index: number,
): Promise<void> {
  const { births } = camera;
  camera.use(mqttPorts.slice(index, index + 1));
  camera.cut();
  await expect.poll(() => camera.births).toBeGreaterThan(births);
  camera.use(mqttPorts);
}
