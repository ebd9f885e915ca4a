import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import type { Attack } from "./attack.ts";
import { attacks } from "./attacks.ts";
import { type Experience, HonestClient } from "./honest-client.ts";
import { startServer, type Target } from "./server.ts";

/** A 99th percentile with an abuser may be at most this many times the 99th percentile without an abuser. */
const MAX_RATIO = 3;
/** Milliseconds. A smaller value only shows the scheduling of three processes on two cores. */
const FLOOR_MS = 5;
/** Milliseconds. The longest wait until an abuser has taken all available connections or entries. */
const FILL_TIMEOUT_MS = 120_000;

const USAGE = `Measures an honest client beside an abuser, for everything that clients share.

  npm run test:abuse -- [options]
    --only name      one attack; again for more: ${attacks.map(({ name }) => name).join(", ")}
    --seconds n      how long the honest client is measured without and with the abuser; default 8
    --program file   deploy/start.js of another build, to measure that
    --profile folder write CPU profiles of the servers there; their cost is in the figures then
`;

const { values: flags } = parseArgs({
  options: {
    only: { type: "string", multiple: true, default: [] },
    seconds: { type: "string", default: "8" },
    program: { type: "string" },
    profile: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

interface Load {
  /** CPU seconds per second, of all threads of the server. */
  cpuShare: number;
  /** The largest resident memory of the server until the end of the period. */
  peakBytes: number;
}

interface Row {
  attack: Attack;
  without: Experience & Load;
  beside: Experience & Load;
  wrong: string[];
}

if (flags.help) process.stdout.write(USAGE);
else await run();

async function run(): Promise<void> {
  const unknown = flags.only.filter((name) => !attacks.some((attack) => attack.name === name));
  const seconds = Number(flags.seconds);
  if (unknown.length > 0 || !(seconds > 0)) {
    process.stderr.write(`${unknown.length > 0 ? `no attack "${unknown}"` : "--seconds must be above 0"}\n\n${USAGE}`);
    process.exitCode = 2;
    return;
  }
  const program =
    flags.program === undefined
      ? new URL("../../deploy/start.js", import.meta.url)
      : pathToFileURL(resolve(flags.program));
  process.stdout.write(
    "p99 from camera to screen and of GET /livez, without and beside the abuser; 50 events a second to 4 dashboards\n",
  );
  const chosen = attacks.filter(({ name }) => flags.only.length === 0 || flags.only.includes(name));
  let failed = 0;
  for (const attack of chosen) {
    const row = await measure(attack, program, seconds);
    process.stdout.write(render(row));
    if (row.wrong.length > 0) failed++;
  }
  process.stdout.write(`${chosen.length - failed} passed, ${failed} failed\n`);
  if (failed > 0) process.exitCode = 1;
}

async function measure(attack: Attack, program: URL, seconds: number): Promise<Row> {
  const server = await startServer(program, { profileTo: flags.profile });
  const honest = new HonestClient(server.target);
  let abuser: ChildProcess | undefined;
  try {
    await attack.prepare?.(server.target);
    await honest.open();
    await honest.experience(1);
    const timed = async (): Promise<Experience & Load> => {
      const [begin, cpuBefore] = [performance.now(), server.cpuSeconds()];
      const experience = await honest.experience(seconds);
      const cpuShare = (server.cpuSeconds() - cpuBefore) / ((performance.now() - begin) / 1000);
      return { ...experience, cpuShare, peakBytes: server.peakBytes() };
    };
    const without = await timed();
    const complaints: string[] = [];
    abuser = await startAbuser(attack, server.target);
    // The abuser reports a failed attack, because a run without a working attack proves nothing.
    const ended = once(abuser, "message").then(([text]) => {
      if (String(text).startsWith("failed")) complaints.push(`the abuser ${text}`);
    });
    const beside = await timed();
    if (attack.fills) {
      const tooSlow = sleep(FILL_TIMEOUT_MS, `the abuser was not done within ${FILL_TIMEOUT_MS / 1000} s`);
      const problem = await Promise.race([ended, tooSlow]);
      if (problem !== undefined) complaints.push(problem);
    }
    beside.peakBytes = server.peakBytes();
    await stopAbuser(abuser);
    const verdict = await attack.verdict?.(server, honest.published).catch(String);
    return {
      attack,
      without,
      beside,
      wrong: wrongs(attack, without, beside, [...complaints, ...(verdict === undefined ? [] : [verdict])]),
    };
  } catch (error) {
    const nothing = {
      screenMs: Number.NaN,
      healthMs: Number.NaN,
      cpuShare: Number.NaN,
      peakBytes: Number.NaN,
      harm: [],
    };
    return {
      attack,
      without: nothing,
      beside: nothing,
      wrong: [error instanceof Error ? error.message : String(error)],
    };
  } finally {
    if (abuser !== undefined) await stopAbuser(abuser);
    honest.close();
    await server.stop();
  }
}

function wrongs(
  { maxGrowthBytes = Number.POSITIVE_INFINITY }: Attack,
  without: Row["without"],
  beside: Row["beside"],
  others: readonly string[],
): string[] {
  const growthBytes = beside.peakBytes - without.peakBytes;
  const slower = (what: string, before: number, after: number) =>
    after <= MAX_RATIO * Math.max(before, FLOOR_MS)
      ? []
      : [`${what}: ${after.toFixed(1)} ms beside the abuser, ${before.toFixed(1)} ms without`];
  return [
    ...without.harm.map((harm) => `before the abuse: ${harm}`),
    ...beside.harm,
    ...slower("camera to screen", without.screenMs, beside.screenMs),
    ...slower("GET /livez", without.healthMs, beside.healthMs),
    ...(growthBytes <= maxGrowthBytes ? [] : [`the server's memory grew by ${inMib(growthBytes)} MiB`]),
    ...others,
  ];
}

function render({ attack, without, beside, wrong }: Row): string {
  const pair = (before: number, after: number) => `${before.toFixed(1)} → ${after.toFixed(1)} ms`;
  const screen = pair(without.screenMs, beside.screenMs);
  const health = pair(without.healthMs, beside.healthMs);
  const cpu = `${(100 * without.cpuShare).toFixed()} → ${(100 * beside.cpuShare).toFixed()} %`;
  const memory = `${inMib(without.peakBytes)} → ${inMib(beside.peakBytes)} MiB`;
  return [
    `\n${attack.name}: ${attack.resource}`,
    `  ${attack.method}`,
    `  screen p99 ${screen}, livez p99 ${health}, server CPU ${cpu}, peak of memory ${memory}: ${wrong.length === 0 ? "no harm" : "HARM"}`,
    ...wrong.slice(0, 5).map((problem) => `  - ${problem}`),
    "",
  ].join("\n");
}

function inMib(bytes: number): string {
  return (bytes / 1024 / 1024).toFixed();
}

async function startAbuser(attack: Attack, target: Target): Promise<ChildProcess> {
  // A real abuser has its own machine. Here, the abuser gets only the CPU time that the server and the honest
  // client leave.
  const atLeisure = { execPath: "chrt", execArgv: ["--idle", "0", process.execPath] };
  const child = fork(fileURLToPath(new URL("./abuser.js", import.meta.url)), atLeisure);
  await once(child, "spawn");
  child.send(JSON.stringify({ name: attack.name, target }));
  return child;
}

async function stopAbuser(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
  await sleep(100);
}
