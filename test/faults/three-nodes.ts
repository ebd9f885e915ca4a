import { readFile } from "node:fs/promises";
import { expect } from "vitest";
import { z } from "zod";
import { JWT_SECRET } from "../support/dashboard.ts";
import { freePort } from "../support/ports.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const COUNT = 3;
const OPERATOR_KEY = "operator-key-of-the-tests";
const CALL_TIMEOUT_MS = 5_000;
const RUNS_TASK = "node runs the task";
const lineSchema = z.object({ time: z.iso.datetime() });

/** Three nodes in their own processes on a real Redis, with the default times of leases and heartbeats. */
export class ThreeNodes {
  readonly nodes: Skylapse[] = [];
  readonly #env: Record<string, string>;
  readonly #redis: RedisServer;
  readonly #dataPaths = Array.from({ length: COUNT }, () => makeDataPath());
  readonly #ports: Record<string, string>[] = [];

  private constructor(redis: RedisServer, env: Record<string, string>) {
    this.#redis = redis;
    // The log of level debug says which node runs a task.
    this.#env = { JWT_SECRET, OPERATOR_KEY, REDIS_URL: redis.url, LOG_LEVEL: "debug", ...env };
  }

  static async start(env: Record<string, string> = {}): Promise<ThreeNodes> {
    const three = new ThreeNodes(await startRedis(), env);
    for (let index = 0; index < COUNT; index++) {
      three.#ports.push({ WS_PORT: String(await freePort()), MQTT_PORT: String(await freePort()) });
      await three.restart(index);
    }
    return three;
  }

  get mqttPorts(): number[] {
    return this.nodes.map(({ mqtt }) => Number(new URL(mqtt).port));
  }

  node(index: number): Skylapse {
    const node = this.nodes[index];
    if (node === undefined) throw new Error(`no node ${index}`);
    return node;
  }

  /** Starts the node, on the same ports as before. */
  async restart(index: number): Promise<void> {
    const dataPath = this.#dataPaths[index];
    const env = { ...this.#env, ...this.#ports[index] };
    if (dataPath !== undefined) this.nodes[index] = await startSkylapse({ dataPath, env });
  }

  async kill(index: number): Promise<void> {
    await this.node(index).end("SIGKILL");
  }

  /** Suspends the process. Resolves when the process is suspended. */
  async freeze(index: number): Promise<void> {
    const { process } = this.node(index);
    process.kill("SIGSTOP");
    const state = async () => / T /.test(await readFile(`/proc/${process.pid}/stat`, "utf8"));
    await expect.poll(state, { interval: 5 }).toBe(true);
  }

  thaw(index: number): void {
    this.node(index).process.kill("SIGCONT");
  }

  /** The node that began the task last. */
  holderOf(task: string): number {
    const begins = this.nodes.map((node) => lastBegin(node.output(), task));
    return begins.indexOf(Math.max(...begins));
  }

  /** Calls the HTTP API with the operator's key. Throws when the node does not answer in time. */
  async call(index: number, path: string, body?: object): Promise<unknown> {
    const response = await fetch(`${this.node(index).http}${path}`, {
      method: body === undefined ? "GET" : "POST",
      headers: { authorization: `Bearer ${OPERATOR_KEY}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
    });
    return await response.json();
  }

  /** Registers a camera. @returns its secret */
  async addCamera(id: string): Promise<string> {
    return z.object({ secret: z.string() }).parse(await this.call(0, "/devices", { id, kind: "camera" })).secret;
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.end("SIGKILL")));
    await this.#redis.remove();
    for (const path of this.#dataPaths) removeDataPath(path);
  }
}

/** When the node last began the task, milliseconds since 1970. 0: never. */
function lastBegin(output: string, task: string): number {
  const at = output.lastIndexOf(`"task":"${task}","msg":"${RUNS_TASK}"`);
  if (at === -1) return 0;
  const line = output.slice(output.lastIndexOf("\n", at) + 1, output.indexOf("\n", at));
  return Date.parse(lineSchema.parse(JSON.parse(line)).time);
}
