import { setTimeout as pause } from "node:timers/promises";
import { expect, onTestFinished } from "vitest";
import { z } from "zod";
import { linkGapSchema, presenceSchema } from "../../contract/events.ts";
import { MovingSession, NodeDashboard, retainedStatuses, type Seen } from "./node-watchers.ts";
import { moveTo, ObedientCamera } from "./obedient-camera.ts";
import { ThreeNodes } from "./three-nodes.ts";

const CAMERAS = ["north", "south", "east"] as const;
/** Shorter than a freeze: a frozen holder that went on would publish a wrong presence when it wakes. */
const GRACE_MS = 5_000;
const SETTLE_SECONDS = 10;
/** After this time, presence must be right everywhere. */
const RIGHT_WITHIN_MS = 15_000;
/** One wait. */
const WAIT = { timeout: 60_000, interval: 100 };
const MISSING = 2;

interface Scene {
  three: ThreeNodes;
  cameras: Record<(typeof CAMERAS)[number], ObedientCamera>;
  dashboards: readonly NodeDashboard[];
  session: MovingSession;
}

/** Three nodes, a dashboard at each, an MQTT session and three cameras, which are online everywhere. */
export async function startScene(): Promise<Scene> {
  const three = await ThreeNodes.start({
    PRESENCE_GRACE_MS: String(GRACE_MS),
    LINK_GAP_SETTLE_SECONDS: String(SETTLE_SECONDS),
    RETENTION_EVENTS: "100000",
  });
  onTestFinished(() => three.stop());
  const dashboards: NodeDashboard[] = [];
  for (const [index, { socket }] of three.nodes.entries()) {
    const dashboard = await new NodeDashboard(socket, `viewer-${index}`).live();
    onTestFinished(() => dashboard.client.close());
    dashboards.push(dashboard);
  }
  const session = await MovingSession.start(three.mqttPorts);
  onTestFinished(() => session.stop());
  const camera = async (id: string) => {
    const started = await ObedientCamera.start(id, await three.addCamera(id), three.mqttPorts);
    onTestFinished(() => started.stop());
    return started;
  };
  const cameras = { north: await camera("north"), south: await camera("south"), east: await camera("east") };
  for (const dashboard of dashboards) await expect.poll(() => shownBy(dashboard), WAIT).toEqual(ALL_ONLINE);
  return { three, cameras, dashboards, session };
}

const ALL_ONLINE = { north: "online", south: "online", east: "online" };
const EAST_OFFLINE = { ...ALL_ONLINE, east: "offline" };

const shownBy = ({ presence }: NodeDashboard) => Object.fromEntries(presence);
const countOf = (seen: readonly Seen[], topic: string) => seen.filter((event) => event.topic === topic).length;
const presencesIn = (seen: readonly Seen[]) =>
  seen
    .filter(({ topic }) => topic.endsWith("state/presence"))
    .map(({ topic, data }) => `${topic.split("/")[1]} ${presenceSchema.parse(data).status}`);
const gapsIn = (seen: readonly Seen[]) =>
  seen.filter(({ event }) => event === "link.gap").map(({ data }) => linkGapSchema.parse(data));

const overHttp = async (three: ThreeNodes, index: number) => {
  const status = z.object({ presence: presenceSchema });
  const each = CAMERAS.map(async (id) => [id, status.parse(await three.call(index, `/cameras/${id}`)).presence.status]);
  return Object.fromEntries(await Promise.all(each));
};

/** @returns until when a dashboard or HTTP showed something else, milliseconds since the call */
async function wrongUntil({ three, dashboards }: Scene, right: object, forMs: number): Promise<number> {
  const since = performance.now();
  let wrongMs = 0;
  while (performance.now() - since < forMs) {
    const shown = await Promise.all([0, 1, 2].map((index) => overHttp(three, index).catch(() => undefined)));
    for (const found of [...dashboards.map(shownBy), ...shown])
      if (JSON.stringify(sorted(found ?? {})) !== JSON.stringify(sorted(right))) wrongMs = performance.now() - since;
    await pause(250);
  }
  return wrongMs;
}

const sorted = (statuses: object) => Object.entries(statuses).sort();

async function expectRightOverMqtt({ three }: Scene): Promise<void> {
  for (const { mqtt } of three.nodes) {
    expect(await retainedStatuses(mqtt, "state/presence", CAMERAS.length)).toEqual(EAST_OFFLINE);
    // The will of a frozen node's client must not replace the birth at another node.
    expect(await retainedStatuses(mqtt, "link", CAMERAS.length)).toEqual(EAST_OFFLINE);
  }
}

/** Each watcher has seen each acknowledged capture once. */
export async function expectNoFaults(scene: Scene): Promise<void> {
  const none = CAMERAS.map((id) => ({ id, twice: [], lost: [] }));
  await expect.poll(() => faultsOf(scene), WAIT).toEqual([none, none, none, none]);
  for (const { gaps } of scene.dashboards) expect(gaps).toEqual([]);
}

/** The captures that a watcher saw twice, and the acknowledged ones that it did not see. */
function faultsOf({ dashboards, session, cameras }: Scene) {
  return [...dashboards, session].map(({ seen }) =>
    CAMERAS.map((id) => {
      const topic = `cameras/${id}/events/capture.completed`;
      const numbers = seen.filter((event) => event.topic === topic).map(({ seq }) => seq);
      const known = new Set(numbers);
      const twice = numbers.filter((seq, index) => numbers.indexOf(seq) !== index);
      return { id, twice, lost: cameras[id].acknowledged.filter((seq) => !known.has(seq)) };
    }),
  );
}

/**
 * Freezes the holder of the task just after a camera has lost its link, another has gone and a third has left a gap, and
 * wakes the holder. @returns a line of the report
 */
export async function freezeHolder(scene: Scene, seconds: number, task: "presence" | "link-gaps"): Promise<string> {
  const { three, cameras, dashboards, session } = scene;
  const { north, south, east } = cameras;
  const holder = three.holderOf(task);
  const watchers = [...dashboards, session];
  const starts = watchers.map(({ seen }) => seen.length);
  const news = (index: number) => watchers[index]?.seen.slice(starts[index]) ?? [];
  // South stays at the node that freezes.
  await moveTo(south, three, holder);
  // North breaks its link just before, and comes back at another node. East breaks its link and stays away.
  north.use(three.mqttPorts.filter((_, index) => index !== holder));
  await expect.poll(() => south.acknowledged.length, WAIT).toBeGreaterThan(1);
  const missing = south.skip(MISSING);
  await expect.poll(() => south.acknowledged.at(-1), WAIT).toBeGreaterThan(missing);
  await east.leave();
  await pause(1_000);
  const { births } = north;
  north.cut();
  await three.freeze(holder);
  await pause(seconds * 1_000);
  expect(north.births).toBeGreaterThan(births);
  const southCame = south.isConnected;
  three.thaw(holder);
  const wrongMs = await wrongUntil(scene, EAST_OFFLINE, RIGHT_WITHIN_MS);
  await expectRightOverMqtt(scene);
  expect(wrongMs).toBeLessThan(RIGHT_WITHIN_MS - 500);
  for (const index of watchers.keys()) {
    await expect.poll(() => gapsIn(news(index)).length, WAIT).toBe(1);
    expect(gapsIn(news(index))).toMatchObject([
      { first_seq: missing, last_seq: missing + MISSING - 1, count: MISSING },
    ]);
    await expect.poll(() => presencesIn(news(index)), WAIT).toEqual(["east offline"]);
  }
  const next = three.holderOf(task);
  expect(next).not.toBe(holder);
  east.come();
  for (const index of watchers.keys())
    await expect.poll(() => presencesIn(news(index)), WAIT).toEqual(["east offline", "east online"]);
  for (const dashboard of dashboards) expect(shownBy(dashboard)).toEqual(ALL_ONLINE);
  for (const index of watchers.keys()) expect(gapsIn(news(index))).toHaveLength(1);
  return `${task}, ${seconds} s: node ${holder} → ${next}, wrong for ${Math.round(wrongMs)} ms, south ${southCame ? "came back" : "was away"}, ${countOf(news(0), "cameras/south/events/capture.completed")} captures of south`;
}
