import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { removeDataPath, type Skylapse, startSkylapse } from "../../support/skylapse.ts";
import {
  answers,
  type Fault,
  type Gateway,
  openGateway,
  openMqttStub,
  type SocketFault,
  trusts,
} from "./broken-gateway.ts";

const SCRIPT = fileURLToPath(new URL("../../../deploy/test-deployment.sh", import.meta.url));
const KEY = "operator-key-of-the-deployment-test";

interface Run {
  code: number | null;
  passed: string[];
  failed: string[];
  output: string;
}

let server: Skylapse;
let mqtt: string;
/** The titles of all checks that fail in a test of this file. */
const seenToFail = new Set<string>();

beforeAll(async () => {
  server = await startSkylapse({ env: { OPERATOR_KEY: KEY } });
  mqtt = new URL(server.mqtt).host;
});

afterAll(async () => {
  await server.end();
  removeDataPath(server.dataPath);
});

async function test(
  groups: readonly string[],
  env: Record<string, string> = {},
  args: readonly string[] = [],
): Promise<Run> {
  const child = spawn("bash", [SCRIPT, "--bare", ...args, ...groups], {
    env: {
      PATH: process.env.PATH,
      DATA_PATH: server.dataPath,
      OPERATOR_KEY: KEY,
      // Enough to see order and repetition; a longer load is for a real installation.
      LOAD_EVENTS: "20",
      LOAD_SOCKETS: "5",
      LOAD_P99_MS: "60000",
      MAX_EVENT_LOOP_DELAY_MS: "60000",
      WAIT_MS: "60000",
      ...env,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  const titles = (result: string) =>
    output
      .split("\n")
      .filter((line) => line.startsWith(`${result} `))
      .map((line) => line.slice(18, 70).trim());
  const failed = titles("FAIL");
  for (const title of failed) seenToFail.add(title);
  return { code: child.exitCode, passed: titles("pass"), failed, output: output + errors };
}

interface Broken {
  faults?: readonly Fault[];
  sockets?: SocketFault;
  mqtt?: string;
  env?: Record<string, string>;
}

/** The titles of the checks that fail when the installation is broken like this. */
async function failures(group: string, { faults, sockets, mqtt: broker = mqtt, env }: Broken): Promise<string[]> {
  const gateway = await openGateway(server.http, { ...(faults && { faults }), ...(sockets && { sockets }) });
  const run = await test([group], env, ["--url", gateway.url, "--mqtt", broker]);
  await gateway.close();
  expect(run.code, run.output).toBe(run.failed.length > 0 ? 1 : 0);
  return run.failed;
}

async function withStub<T>(code: number, use: (stub: Gateway) => Promise<T>): Promise<T> {
  const stub = await openMqttStub(code);
  try {
    return await use(stub);
  } finally {
    await stub.close();
  }
}

describe("test-deployment.sh", () => {
  let all: string[] = [];

  it("passes all checks at a bare server", async () => {
    const { code, passed, failed, output } = await test([], {}, ["--url", server.http, "--mqtt", mqtt]);
    expect(failed, output).toEqual([]);
    expect(code).toBe(0);
    all = passed;
    expect(all.length).toBeGreaterThan(25);
  });

  it("fails if the server is not alive, is not ready, is not healthy, and has no page", async () => {
    const faults = [
      answers("/livez", 500),
      answers("/readyz", 503, { status: "not ready" }),
      answers("/health", 200, { status: "degraded", version: "1" }),
      answers("/", 200, "It works!"),
    ];
    expect(await failures("health", { faults })).toHaveLength(4);
  });

  it("fails if any key and any token is trusted", async () => {
    const faults = [trusts(KEY, () => true)];
    expect(await failures("auth", { faults })).toEqual([
      "the token opens nothing else",
      "without a key, others get no token",
      "a wrong key mints no token",
      "a token signed by another secret is refused",
      "a token with changed permissions is refused",
      "a revoked token is refused",
    ]);
  });

  it("fails if no token is minted", async () => {
    expect(await failures("auth", { faults: [answers("/auth/token", 500)] })).toContain(
      "the operator key mints a token",
    );
  });

  it("fails if the server refuses the token that it has minted", async () => {
    const faults = [answers("/cameras", 401)];
    expect(await failures("auth", { faults })).toEqual(["the token opens what it grants"]);
  });

  it("fails if the WebSocket trusts everybody and delivers twice", async () => {
    expect(await failures("websocket", { sockets: "accepts everything and sends twice" })).toHaveLength(4);
  });

  it("fails if the server refuses WebSockets", async () => {
    expect(await failures("websocket", { sockets: "refuses" })).toEqual([
      "an event arrives once",
      "a forged token gets auth_error",
      "a channel needs its permission",
    ]);
  });

  it("fails if MQTT accepts every token, and if MQTT accepts none", async () => {
    expect(await withStub(0, ({ url }) => failures("network", { mqtt: url }))).toEqual(["MQTT refuses a forged token"]);
    expect(await withStub(5, ({ url }) => failures("network", { mqtt: url }))).toEqual(["MQTT accepts a token"]);
  });

  it("fails if events are lost", async () => {
    const env = { WAIT_MS: "2000" };
    expect(await failures("load", { sockets: "accepts everything and sends nothing", env })).toHaveLength(2);
  });

  it("fails if memory, processor or disk are used up", async () => {
    const used = { node: { memory_bytes: 10 ** 10, event_loop_delay_ms: { p99: 9000.5 } } };
    const env = { MIN_FREE_DISK_PERCENT: "101", MAX_EVENT_LOOP_DELAY_MS: "500" };
    expect(await failures("resources", { faults: [answers("/stats", 200, used)], env })).toHaveLength(3);
  });

  it("fails if the server is not secure", async () => {
    const secrets = join(server.dataPath, "secrets.json");
    chmodSync(secrets, 0o644);
    const spaced = `${server.dataPath} with blanks`;
    symlinkSync(server.dataPath, spaced);
    const faults: Fault[] = [
      answers("/", 200, "no headers"),
      answers("/no-such-path", 500),
      answers("/../../../../etc/passwd", 200, "root:x:0:0"),
      trusts(KEY, ({ url }) => url === "/users"),
      answers("/broadcast", 200),
      (_request, response) => {
        response.setHeader("access-control-allow-origin", "*");
        return false;
      },
    ];
    expect(await failures("security", { faults, env: { DATA_PATH: spaced } })).toHaveLength(7);
    rmSync(spaced);
    chmodSync(secrets, 0o600);
  });

  it("has no check that was not seen to fail", () => {
    expect(all.filter((title) => !seenToFail.has(title))).toEqual([]);
  });

  it("ends with 2 for a wrong command line and without an operator key", async () => {
    expect((await test(["healt"])).code).toBe(2);
    expect((await test(["health"], { OPERATOR_KEY: "", DATA_PATH: "/nonexistent" })).code).toBe(2);
  });
});
