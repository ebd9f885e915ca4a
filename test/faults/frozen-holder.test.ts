import { setTimeout as pause } from "node:timers/promises";
import { expect, it, onTestFinished } from "vitest";
import { OutcomeUnknownError } from "../../dashboard-client/client/errors.ts";
import type { CommandResult } from "../../dashboard-client/index.ts";
import { LONG, TIMEOUT_MS } from "../support/long-form.ts";
import { expectNoFaults, freezeHolder, startScene } from "./holder-scene.ts";
import { NodeDashboard } from "./node-watchers.ts";
import { ACTION_MS, moveTo, ObedientCamera } from "./obedient-camera.ts";
import { ThreeNodes } from "./three-nodes.ts";

const FREEZES_S = [15, 25, 45, 15, 25, 45, 15, 25, 45, 15];
/** What the node has that is killed or frozen. */
const KINDS = ["the queue", "the connection", "the queue and the connection"] as const;
/** Longer than the time after which a node is dead, and shorter than the expiry of commands, which is 30 s. */
const FREEZE_MS = 15_000;
/** From the request to the beginning of the execution. The short form runs beside other tests. */
const MAX_DELAY_S = LONG ? 12 : 25;
const BETWEEN_COMMANDS_MS = 60;
/** One wait of the trial. */
const WAIT = { timeout: 60_000, interval: 50 };
const FINAL = "succeeded";

interface CommandScene {
  three: ThreeNodes;
  camera: ObedientCamera;
  dashboards: readonly NodeDashboard[];
}

async function startCommandScene(): Promise<CommandScene> {
  const three = await ThreeNodes.start();
  onTestFinished(() => three.stop());
  const dashboards = three.nodes.map(({ socket }, index) => new NodeDashboard(socket, `operator-${index}`));
  onTestFinished(() => {
    for (const { client } of dashboards) client.close();
  });
  const camera = await ObedientCamera.start("north", await three.addCamera("north"), three.mqttPorts);
  onTestFinished(() => camera.stop());
  return { three, camera, dashboards };
}

/** The outcome for the dashboard, or why the dashboard does not know the outcome. */
async function outcomeOf(result: Promise<CommandResult> | undefined): Promise<string> {
  try {
    const { status, error } = (await result) ?? {};
    return error === undefined ? String(status) : `${status}: ${error}`;
  } catch (error) {
    return error instanceof OutcomeUnknownError ? "unknown" : String(error);
  }
}

/** @returns a line of the report */
async function strike(scene: CommandScene, round: number, blow: "killed" | "frozen"): Promise<string> {
  const { three, camera, dashboards } = scene;
  const kind = KINDS[round % KINDS.length] ?? KINDS[0];
  const target = round % three.nodes.length;
  const [second = 0, third = 0] = [0, 1, 2].filter((index) => index !== target);
  for (const dashboard of dashboards) await dashboard.live();
  await moveTo(camera, three, kind === "the queue" ? second : target);
  const command = (index: number, onSent = () => {}) => {
    const onProgress = ({ status }: CommandResult) => {
      if (status === "sent") onSent();
    };
    return outcomeOf(dashboards[index]?.client.command("north", "capture.now", {}, { onProgress }));
  };
  // Every node knows of the connection.
  for (const index of dashboards.keys()) await expect.poll(() => command(index), WAIT).toBe(FINAL);
  const before = camera.executed.length;
  const senders = kind === "the connection" ? [second, third, second, third] : [target, target, second, third];
  const outcomes: Promise<string>[] = [];
  let sent = 0;
  const send = async (some: readonly number[]) => {
    for (const sender of some) {
      outcomes.push(command(sender, () => sent++));
      await pause(BETWEEN_COMMANDS_MS);
    }
  };
  await send(senders.slice(0, 2));
  // A node that dies before it has a command cannot carry it out.
  await expect.poll(() => sent, { interval: 2 }).toBe(2);
  await pause(Math.random() * ACTION_MS);
  const done = camera.executed.length - before;
  if (blow === "killed") await three.kill(target);
  else await three.freeze(target);
  await send(senders.slice(2));
  const executed = () => camera.executed.slice(before);
  await expect.poll(() => executed().length, WAIT).toBe(senders.length);
  if (blow === "frozen") {
    await pause(Math.max(0, FREEZE_MS - (Date.now() - (executed()[0]?.issuedAt ?? 0))));
    three.thaw(target);
  } else await three.restart(target);
  const told = await Promise.all(outcomes);
  expect(executed().map(({ id }) => id)).toEqual([...new Set(executed().map(({ id }) => id))]);
  expect(executed()).toHaveLength(senders.length);
  const issued = executed().map(({ issuedAt }) => issuedAt);
  expect(issued).toEqual([...issued].sort((a, b) => a - b));
  // The connection of a dashboard ends with its node, perhaps before the outcome.
  for (const [index, sender] of senders.entries())
    expect(sender === target && blow === "killed" ? [FINAL, "unknown"] : [FINAL]).toContain(told[index]);
  const delayMs = Math.max(...executed().map(({ issuedAt, startedAt }) => startedAt - issuedAt));
  expect(delayMs).toBeLessThanOrEqual(MAX_DELAY_S * 1_000);
  return `${kind}, ${blow} after ${done} commands: longest delay ${delayMs} ms`;
}

const BLOWS = [
  ["killed", LONG ? 10 : 1],
  ["frozen", LONG ? 10 : 0],
] as const;

for (const [blow, rounds] of BLOWS.filter(([, rounds]) => rounds > 0))
  it(`commands are carried out once, in order and within ${MAX_DELAY_S} s, and their true outcome is reported, after a node with the queue or the camera's connection was ${blow}`, {
    timeout: TIMEOUT_MS,
  }, async () => {
    const scene = await startCommandScene();
    for (let round = 0; round < rounds; round++) process.stdout.write(`${await strike(scene, round, blow)}\n`);
  });

// The short form, with shorter leases, is in test/bridge/nodes/frozen.test.ts.
if (LONG)
  it("presence is right everywhere and nothing is reported twice after the holder of its task was frozen past its lease", {
    timeout: TIMEOUT_MS,
  }, async () => {
    const scene = await startScene();
    for (const [index, seconds] of FREEZES_S.entries())
      process.stdout.write(`${await freezeHolder(scene, seconds, index % 2 === 0 ? "presence" : "link-gaps")}\n`);
    await expectNoFaults(scene);
  });
