import mqtt, { type MqttClient } from "mqtt";
import { expect } from "vitest";
import { WebSocket } from "ws";
import { z } from "zod";
import { linkSchema, presenceSchema } from "../../contract/events.ts";
import type { DashboardEvent } from "../../contract/socket-messages.ts";
import { type Client, createClient } from "../../dashboard-client/index.ts";
import { signToken } from "../support/dashboard.ts";
import { type RoundRobin, startRoundRobin } from "../support/round-robin.ts";

const ROOT = "skylapse/v1/";
const TOKEN_SECONDS = 7_200;
const KEEPALIVE_S = 3;
const CONNECT_TIMEOUT_MS = 1_500;
const envelopeSchema = z.object({ id: z.string(), event: z.string(), seq: z.number().optional(), data: z.unknown() });

/** What a watcher has received: the topic without the root, the event, and the data. */
export interface Seen {
  topic: string;
  event: string;
  seq: number | undefined;
  data: unknown;
}

/** A dashboard at one node. */
export class NodeDashboard {
  readonly seen: Seen[] = [];
  readonly gaps: unknown[] = [];
  readonly client: Client;
  /** The newest presence of each camera. */
  readonly presence = new Map<string, string>();
  readonly #live: () => boolean;

  constructor(url: string, user: string) {
    this.client = createClient({
      url,
      getToken: () => signToken(user, ["dashboard:read", "camera:control"], TOKEN_SECONDS),
      WebSocket,
      backoff: { minDelayMs: 50, maxDelayMs: 500 },
    });
    const subscription = this.client.subscribe("dashboard", {
      onEvent: (event) => this.#take(event),
      onGap: (gap) => this.gaps.push(gap),
    });
    this.#live = () => subscription.state.status === "live";
    this.client.connect();
  }

  async live(): Promise<this> {
    await expect.poll(this.#live).toBe(true);
    return this;
  }

  #take({ topic = "", event, seq, data, camera = "", snapshot = false }: DashboardEvent): void {
    if (topic.endsWith("state/presence")) this.presence.set(camera, presenceSchema.parse(data).status);
    if (!snapshot) this.seen.push({ topic, event, seq, data });
  }
}

/**
 * A persistent session, which moves from node to node. Cameras publish with QoS 1, so a message may arrive again after a
 * move: the session counts a message once, by its id.
 */
export class MovingSession {
  readonly seen: Seen[] = [];
  readonly #ids = new Set<string>();
  readonly #link: RoundRobin;
  readonly #client: MqttClient;

  private constructor(link: RoundRobin) {
    this.#link = link;
    const password = signToken("archive", ["dashboard:read"], TOKEN_SECONDS);
    this.#client = mqtt.connect(`mqtt://127.0.0.1:${link.port}`, {
      ...{ clientId: "archive", username: "archive", password, clean: false, keepalive: KEEPALIVE_S },
      ...{ connectTimeout: CONNECT_TIMEOUT_MS, reconnectPeriod: 100, resubscribe: false },
    });
    // A refused connection, which the client tries again.
    this.#client.on("error", () => {});
    this.#client.on("message", (topic, payload, { retain }) => {
      const { id, event, seq, data } = envelopeSchema.parse(JSON.parse(String(payload)));
      if (!retain && !this.#ids.has(id)) this.seen.push({ topic: topic.slice(ROOT.length), event, seq, data });
      this.#ids.add(id);
    });
  }

  static async start(ports: readonly number[]): Promise<MovingSession> {
    const link = await startRoundRobin();
    link.setTargets(ports);
    const session = new MovingSession(link);
    await session.#client.subscribeAsync([`${ROOT}cameras/+/events/#`, `${ROOT}cameras/+/state/presence`], { qos: 1 });
    return session;
  }

  async stop(): Promise<void> {
    await this.#client.endAsync(true);
    await this.#link.stop();
  }
}

/** The status in each retained message of the topics, by camera. @param name `link` or `state/presence` */
export async function retainedStatuses(url: string, name: string, count: number): Promise<Record<string, string>> {
  const password = signToken("reader", ["dashboard:read"]);
  const client = await mqtt.connectAsync(url, { username: "reader", password, reconnectPeriod: 0 });
  const found: Record<string, string> = {};
  try {
    client.on("message", (topic, payload) => {
      found[topic.split("/")[3] ?? ""] = statusOf(name, JSON.parse(String(payload)));
    });
    await client.subscribeAsync(`${ROOT}cameras/+/${name}`, { qos: 1 });
    await expect.poll(() => Object.keys(found)).toHaveLength(count);
    return found;
  } finally {
    await client.endAsync(true);
  }
}

function statusOf(name: string, body: unknown): string {
  return name === "link" ? linkSchema.parse(body).status : presenceSchema.parse(envelopeSchema.parse(body).data).status;
}
