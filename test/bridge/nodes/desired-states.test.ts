import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { LONG, TIMEOUT_MS } from "../../support/long-form.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { holderFirst, killNodes, type NodeProcess, startNode, startTwoNodes, untilAccepted } from "./two-nodes.ts";

const KILLS = LONG ? 10 : 1;
const TASK = "desired-states";

let redis: RedisServer;
let nodes: [NodeProcess, NodeProcess];
beforeAll(async () => {
  redis = await startRedis();
  nodes = await startTwoNodes(options());
});
afterAll(async () => {
  await killNodes();
  await redis.remove();
});

const options = () => ({
  ...{ redisUrl: redis.url, prefix: "desired", connected: ["device:north", "device:east"] },
  env: { PRESENCE_GRACE_MS: "60000" },
});
const scheduleOf = (interval_s: number) => ({
  entries: [{ kind: "clock", start: "06:00", end: "09:00", interval_s }],
});

/** A camera that remembers the commands that it has carried out. It reports nothing, so only its replies confirm. */
class Camera {
  /** By command id: how often it arrived, and the schedule. */
  readonly received = new Map<string, { times: number; schedule: unknown }>();
  readonly id: string;
  readonly #seen = new Map<NodeProcess, number>();

  constructor(id: string) {
    this.id = id;
  }

  /** Carries out what the nodes have published since the last call, and replies at the first node. */
  async serve(nodes: readonly NodeProcess[], isAnswering = true): Promise<void> {
    for (const node of nodes) {
      const all = node.commands().filter(({ topic }) => topic.includes(`/cameras/${this.id}/`));
      const fresh = all.slice(this.#seen.get(node) ?? 0);
      this.#seen.set(node, all.length);
      for (const { id, text } of fresh) {
        const times = (this.received.get(id)?.times ?? 0) + 1;
        this.received.set(id, { times, schedule: JSON.parse(text).args });
        if (!isAnswering) continue;
        await nodes[0]?.say(`cameras/${this.id}/replies/schedule.set`, { command_id: id, status: "succeeded" });
      }
    }
  }
}

async function arrive(node: NodeProcess, { id }: Camera): Promise<void> {
  await node.say(`cameras/${id}/link`, { status: "online", session: "s1" }, true);
  await vi.waitUntil(async () => (await node.call("GET", `/cameras/${id}`)).body?.presence?.status === "online");
}

const wish = (node: NodeProcess, { id }: Camera, interval_s: number) =>
  untilAccepted(() => node.call("PUT", `/cameras/${id}/schedule`, scheduleOf(interval_s)));
const shownAt = async (node: NodeProcess, { id }: Camera) =>
  (await node.call("GET", `/cameras/${id}`)).body.states?.desired?.data.schedule;

/** The camera answers until the node shows the version as applied. @returns the milliseconds that this took */
async function untilApplied(nodes: readonly NodeProcess[], camera: Camera, version: number): Promise<number> {
  const began = performance.now();
  const [node] = nodes;
  if (node === undefined) throw new Error("no node");
  await vi.waitUntil(
    async () => {
      await camera.serve(nodes);
      const shown = await shownAt(node, camera);
      return shown?.version === version && shown.status === "applied";
    },
    { timeout: 300_000, interval: 50 },
  );
  return performance.now() - began;
}

it("a schedule that was wished while the camera was cut off is sent when the camera is back", async () => {
  const [holder, other] = nodes;
  const camera = new Camera("south");
  // The link of the camera has just failed: the camera is still called online, and is not connected.
  await arrive(holder, camera);
  const { version } = (await wish(other, camera, 60)).body;
  await vi.waitUntil(async () => {
    const { lines } = (await holder.call("GET", "/audit?log=traffic")).body;
    return lines.some(({ outcome }: { outcome: string }) => outcome === "failed");
  });
  for (const node of nodes) node.connectClient("device:south");
  await other.say("cameras/south/link", { status: "online", session: "s2" }, true);
  // Without the birth, a command without an answer is sent again after 75 s.
  expect(await untilApplied([other, holder], camera, version)).toBeLessThan(60_000);
});

it("a schedule under way when Redis is killed ends as applied", { timeout: TIMEOUT_MS }, async () => {
  const [holder, other] = nodes;
  const camera = new Camera("east");
  await arrive(holder, camera);
  let slowestMs = 0;
  for (let run = 1; run <= KILLS; run++) {
    const { version } = (await wish(other, camera, 60 + run)).body;
    await redis.stop("SIGKILL");
    await redis.start();
    slowestMs = Math.max(slowestMs, await untilApplied([other, holder], camera, version));
  }
  if (LONG) console.info("kill -9 of Redis while a schedule is under way", { kills: KILLS, slowestMs });
});

it("a schedule under way when its node is killed is finished by the other node, with the same command", {
  timeout: TIMEOUT_MS,
}, async () => {
  let [holder, other] = await holderFirst(TASK, nodes);
  const camera = new Camera("north");
  await arrive(holder, camera);
  let slowestMs = 0;
  for (let run = 1; run <= KILLS; run++) {
    const wanted = scheduleOf(60 + run);
    const { version } = (await wish(other, camera, 60 + run)).body;
    // The camera gets the command, and the node dies before the answer.
    await vi.waitUntil(async () => {
      await camera.serve([holder], false);
      return camera.received.size === run;
    });
    await holder.kill();
    slowestMs = Math.max(slowestMs, await untilApplied([other], camera, version));
    const ofRun = [...camera.received.values()].filter(
      ({ schedule }) => JSON.stringify(schedule) === JSON.stringify(wanted),
    );
    // One command, which arrived at least twice: the camera answers the repetition from its memory.
    expect(ofRun).toHaveLength(1);
    expect(ofRun[0]?.times).toBeGreaterThan(1);
    if (run === KILLS) break;
    holder = other;
    await holder.runs(TASK);
    other = await startNode(options());
  }
  expect(camera.received.size).toBe(KILLS);
  if (LONG) console.info("kill -9 of the node that sends a schedule", { kills: KILLS, slowestMs });
});
