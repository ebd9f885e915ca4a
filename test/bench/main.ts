import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { MOSQUITTO } from "../support/programs.ts";
import { agent } from "./agent.ts";
import { awaySessions } from "./away-sessions.ts";
import { cameraData } from "./camera-data.ts";
import { catchUp } from "./catch-up.ts";
import { fanOutBurst } from "./fan-out-burst.ts";
import { fanOutSingle } from "./fan-out-single.ts";
import { idleMemory } from "./idle-memory.ts";
import { ingestArchive, ingestMqtt5, ingestQos1 } from "./ingest-qos1.ts";
import { mqtt5FanOut, mqttFanOut } from "./mqtt-fan-out.ts";
import { packageSizes } from "./package-sizes.ts";
import { pageFrames } from "./page-frames.ts";
import { pageHeap } from "./page-heap.ts";
import { pageLoad } from "./page-load.ts";
import { persistentSubscribers } from "./persistent-subscribers.ts";
import { redisFanOut, redisIngest, redisNodes, redisReplica } from "./redis.ts";
import { figureResults, type RowResult, renderRow, type SideResult } from "./report.ts";
import { resume } from "./resume.ts";
import type { BenchOptions, Row, Sample } from "./row.ts";
import { scale } from "./scale.ts";
import { packageVersion } from "./servers/package-version.ts";
import { sessionBehind } from "./session-behind.ts";
import { slowReader } from "./slow-reader.ts";
import { snapshot } from "./snapshot.ts";

const ROWS: readonly Row[] = [
  fanOutSingle,
  fanOutBurst,
  idleMemory,
  ingestQos1,
  ingestMqtt5,
  ingestArchive,
  mqttFanOut,
  mqtt5FanOut,
  persistentSubscribers,
  awaySessions,
  sessionBehind,
  resume,
  scale,
  catchUp,
  slowReader,
  redisIngest,
  redisReplica,
  redisFanOut,
  redisNodes,
  snapshot,
  agent,
  cameraData,
  packageSizes,
  pageFrames,
  pageHeap,
  pageLoad,
];

const USAGE = `Measures this system beside its peers, each round on new servers, in turn.

  npm run bench -- [options]
    --quick         shorter and fewer rounds
    --only name     a row, or all whose names begin with it, such as "page"; again for more: ${ROWS.map(({ name }) => name).join(", ")}
    --rounds n      default 5, quick 2
    --json file     write every value as JSON
    --profile dir   let servers on Node write CPU profiles there; figures are then too high

  SERVER_DIST=path      measure another build of this server, such as the dist folder of an earlier version
`;

const { values: flags } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string", multiple: true, default: [] },
    rounds: { type: "string" },
    json: { type: "string" },
    profile: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

if (flags.help) process.stdout.write(USAGE);
else await run();

async function run(): Promise<void> {
  const { quick, only } = flags;
  const options: BenchOptions = {
    quick,
    rounds: Number(flags.rounds ?? (quick ? 2 : 5)),
    seconds: quick ? 2 : 5,
    profileTo: flags.profile === undefined ? undefined : resolve(flags.profile),
  };
  const unknown = only.filter((name) => !ROWS.some((row) => isNamed(row, name)));
  if (unknown.length > 0 || !(options.rounds >= 1)) {
    process.stderr.write(`${unknown.length > 0 ? `no row "${unknown}"` : "--rounds must be at least 1"}\n\n${USAGE}`);
    process.exitCode = 2;
    return;
  }
  if (options.profileTo !== undefined) mkdirSync(options.profileTo, { recursive: true });

  const environment = describeEnvironment();
  process.stdout.write(`${Object.values(environment).join(" · ")}\n`);
  const results: RowResult[] = [];
  for (const row of ROWS.filter((one) => only.length === 0 || only.some((name) => isNamed(one, name)))) {
    const result = await measure(row, options);
    process.stdout.write(renderRow(result));
    results.push(result);
  }
  if (flags.json !== undefined)
    writeFileSync(flags.json, `${JSON.stringify(toJson(results, options), undefined, 2)}\n`);
  // A missed target is a result, but a missing delivery makes the run fail.
  if (results.some(({ failure }) => failure !== undefined)) process.exitCode = 1;
}

/** @param name the whole name, or its first words, such as `page` */
function isNamed(row: Row, name: string): boolean {
  return row.name === name || row.name.startsWith(`${name}-`);
}

/** Alternates between our server and its peer, so that other load on the machine affects both servers. */
async function measure(row: Row, options: BenchOptions): Promise<RowResult> {
  const sides = row.sides(options);
  const samples = sides.map((): Sample[] => []);
  const result = (failure?: string): RowResult => ({
    row,
    method: row.method(options),
    sides: sides.map(({ name }, index): SideResult => ({ name, samples: samples[index] ?? [] })),
    failure,
  });
  const rounds = Math.min(options.rounds, row.maxRounds ?? options.rounds);
  for (let round = 1; round <= rounds; round++) {
    for (const [index, { name, measure: measureSide }] of sides.entries()) {
      process.stderr.write(`${row.name}: round ${round} of ${rounds}, ${name}\n`);
      try {
        samples[index]?.push(await measureSide());
      } catch (error) {
        return result(`${name}, round ${round}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  }
  return result();
}

function toJson(results: readonly RowResult[], options: BenchOptions) {
  return {
    measuredAt: new Date().toISOString(),
    environment: describeEnvironment(),
    options,
    rows: results.map((result) => ({
      name: result.row.name,
      title: result.row.title,
      method: result.method,
      failure: result.failure,
      figures: figureResults(result),
    })),
  };
}

function describeEnvironment() {
  const [core] = cpus();
  return {
    node: `Node ${process.version}`,
    socketIo: `Socket.IO ${packageVersion("socket.io")}`,
    mosquitto: mosquittoVersion(),
    machine: `${cpus().length} × ${core?.model.trim() ?? "unknown processor"}`,
    system: `Linux ${release()}`,
  };
}

function mosquittoVersion(): string {
  try {
    // Mosquitto has no --version. Its help begins with the version, and exits with an error.
    execFileSync(MOSQUITTO, ["-h"], { stdio: "pipe" });
  } catch (error) {
    if (typeof error === "object" && error !== null && "stdout" in error) return firstLine(String(error.stdout));
  }
  return "Mosquitto";
}

function firstLine(text: string): string {
  return text.split("\n")[0]?.replace("mosquitto version", "Mosquitto") ?? "";
}
