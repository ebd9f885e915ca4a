import { get } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { topicTree } from "../../contract/topics.ts";
import { EVENT_NAME, FIRST_NUMBER, findNumber } from "../bench/load/event.ts";
import type { Feed } from "../bench/load/feed.ts";
import { openMqttFeed } from "../bench/load/mqtt-feed.ts";
import { Tally } from "../bench/load/tally.ts";
import { LeanWebSocket } from "../bench/load/web-socket.ts";
import type { Published } from "./attack.ts";
import { type Target, tokenOf } from "./server.ts";

const PER_SECOND = 50;
const DASHBOARDS = 4;
const PAYLOAD_BYTES = 400;
const HEALTH_EVERY_MS = 50;

/** The measurements of an honest client in a period. */
export interface Experience {
  /** Latency from camera to screen, 99th percentile. */
  screenMs: number;
  /** `GET /livez`, 99th percentile. */
  healthMs: number;
  /** Losses, repetitions, disconnects and refusals. */
  harm: readonly string[];
}

/** One camera with a secret and four dashboards: two on the camera's channel, two on `dashboard`. */
export class HonestClient {
  readonly #target: Target;
  readonly #tally = new Tally("dashboard", DASHBOARDS, FIRST_NUMBER);
  readonly #harm: string[] = [];
  readonly #sockets: LeanWebSocket[] = [];
  #feed: Feed | undefined;
  #place = { epoch: "", position: 0 };

  constructor(target: Target) {
    this.#target = target;
  }

  async open(): Promise<void> {
    for (let index = 0; index < DASHBOARDS; index++) await this.#openDashboard(index);
    this.#feed = await openMqttFeed({
      port: this.#target.mqttPort,
      clientId: "camera-honest",
      username: "honest",
      password: this.#target.secrets.honest,
      topic: topicTree().build({ kind: "camera-event", camera: "honest", event: EVENT_NAME }),
      qos: 1,
      payloadBytes: PAYLOAD_BYTES,
    });
  }

  /** Publishes at an even rate for the given time, then waits until every dashboard has every event. */
  async experience(seconds: number): Promise<Experience> {
    const feed = this.#feed;
    if (feed === undefined) throw new Error("the honest client is not open");
    const harmBefore = this.#harm.length;
    const health: number[] = [];
    let running = true;
    const watching = (async () => {
      while (running) {
        health.push(await this.#livezMs().catch((error: unknown) => this.#harmed(`/livez: ${String(error)}`, 60_000)));
        await sleep(HEALTH_EVERY_MS);
      }
    })();
    this.#tally.startLatencies();
    try {
      const ends = performance.now() + seconds * 1000;
      const begin = performance.now();
      for (let sent = 0; performance.now() < ends; ) {
        const due = Math.ceil(((performance.now() - begin) / 1000) * PER_SECOND);
        if (due > sent) feed.publish(due - sent);
        sent = Math.max(sent, due);
        await sleep(1);
      }
      await feed.pending(0);
      await this.#tally.reached((feed.next - FIRST_NUMBER) * DASHBOARDS);
    } catch (error) {
      this.#harmed(error instanceof Error ? error.message : String(error), 0);
    }
    running = false;
    await watching;
    health.sort((one, other) => one - other);
    return {
      screenMs: this.#tally.takeLatencies().p99Ms,
      healthMs: health[Math.floor(health.length * 0.99)] ?? Number.NaN,
      harm: this.#harm.slice(harmBefore),
    };
  }

  get published(): Published {
    return { events: (this.#feed?.next ?? FIRST_NUMBER) - FIRST_NUMBER, ...this.#place };
  }

  close(): void {
    this.#feed?.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #harmed<Value>(what: string, value: Value): Value {
    this.#harm.push(what);
    return value;
  }

  async #openDashboard(index: number): Promise<void> {
    const ownChannel = index % 2 === 0;
    const [channel, permission] = ownChannel
      ? ["camera:honest", "camera:honest:read"]
      : ["dashboard", "dashboard:read"];
    await new Promise<void>((resolve, reject) => {
      const refuse = (why: string) => {
        this.#harmed(`dashboard ${index}: ${why}`, undefined);
        this.#tally.fail(`dashboard ${index}: ${why}`);
        reject(new Error(why));
      };
      const socket: LeanWebSocket = new LeanWebSocket({
        port: this.#target.httpPort,
        path: "/ws",
        onText: (buffer, start, end) => {
          const at = findNumber(buffer, start, end);
          if (at !== -1) return this.#tally.record(index, buffer, at);
          const head = buffer.toString("latin1", start, Math.min(end, start + 40));
          if (head.startsWith('{"type":"ping"')) socket.send('{"type":"pong"}');
          else if (head.startsWith('{"type":"auth_success"'))
            socket.send(JSON.stringify({ type: "subscribe", channel }));
          else if (head.startsWith('{"type":"subscription_result"')) {
            const { epoch = "", position = 0 } = JSON.parse(buffer.toString("utf8", start, end));
            this.#place = { epoch, position };
            resolve();
          } else if (/^\{"type":"(auth_error|error|lagging)"/.test(head)) refuse(buffer.toString("utf8", start, end));
        },
        onClose: refuse,
      });
      this.#sockets.push(socket);
      socket.open().then(() => {
        socket.send(JSON.stringify({ type: "auth", token: tokenOf(`viewer-${index}`, permission ?? "") }));
      }, reject);
    });
  }

  #livezMs(): Promise<number> {
    const begin = performance.now();
    return new Promise((resolve, reject) => {
      get({ host: "127.0.0.1", port: this.#target.httpPort, path: "/livez" }, (response) => {
        response.resume();
        response.on("end", () => resolve(performance.now() - begin));
      }).on("error", reject);
    });
  }
}
