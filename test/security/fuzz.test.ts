import { readFileSync } from "node:fs";
import fc, { type Arbitrary } from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PINGREQ } from "../broker/raw-client.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { LONG, TIMEOUT_MS } from "../support/long-form.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";
import { type Delivery, deliver } from "./fuzz/deliver.ts";
import { type Heap, INSPECTED, openHeap, withoutInspector } from "./fuzz/heap.ts";
import {
  afterConnect,
  afterConnectInFrames,
  beforeConnect,
  beforeConnectInFrames,
  MQTT_UPGRADE,
  mqttFrame,
} from "./fuzz/mqtt-inputs.ts";
import { afterConnect5, beforeConnect5 } from "./fuzz/mqtt5-inputs.ts";
import { afterAuth, beforeAuth } from "./fuzz/web-socket-inputs.ts";
import { startWitness } from "./fuzz/witness.ts";
import { frame, UPGRADE } from "./raw-web-socket.ts";

/** `npm run test:long` sends 100,000 inputs of MQTT 5 and 102,000 others. */
function inputsAt(entryPoint: string): number {
  if (!LONG) return 400;
  return entryPoint.includes("MQTT 5") ? 50_000 : 17_000;
}
/** Run with the `FUZZ_SEED` of a failure to send its inputs again. */
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);
const BATCH = 200;
const AT_ONCE = 32;
/** How much the heap and the resident memory may grow from an entry point's first inputs to its last input. */
const MAX_HEAP_GROWTH_BYTES = 32 * 1024 * 1024;
const MAX_RESIDENT_GROWTH_BYTES = 96 * 1024 * 1024;
/** The longest delivery time of an event during the attack, on a machine with other work. */
const MAX_DELAY_MS = 30_000;

const dataPath = makeDataPath();
const token = signToken("fuzz", ["dashboard:read", "camera:fuzz:control", "device:fuzz"], 7200);
let skylapse: Skylapse;
let heap: Heap;
/** The inputs that are being sent. A failure report lists them. */
const underWay = new Set<Delivery>();
let failure: string | undefined;

function note(what: string, inputs: Iterable<Delivery> = underWay): void {
  if (what === "") return;
  const sent = [...inputs].map(({ steps }) => steps.map(({ bytes }) => bytes.toString("hex")).join(" then "));
  failure ??= `${what}\nwith these inputs under way (FUZZ_SEED=${SEED}), as hex:\n${sent.join("\n")}`;
}

beforeAll(async () => {
  const env = {
    JWT_SECRET,
    // At this level only errors of the program are logged, and there must be none.
    LOG_LEVEL: "error",
    MAX_CONNECTIONS_PER_ADDRESS: "0",
    MAX_CONNECTIONS_PER_USER: "0",
    MAX_CONNECTS_PER_MINUTE: "0",
    MAX_MESSAGES_PER_SECOND: "0",
    MAX_MQTT_CONNECTIONS_PER_ADDRESS: "0",
    MAX_MQTT_CONNECTS_PER_MINUTE: "0",
    MAX_REQUESTS_PER_MINUTE: "0",
    MAX_REQUESTS_PER_SECOND: "0",
    ...INSPECTED,
  };
  skylapse = await startSkylapse({ dataPath, env });
  heap = await openHeap(skylapse);
  for (const stream of [skylapse.process.stdout, skylapse.process.stderr])
    stream?.on("data", (chunk) => note(withoutInspector(String(chunk))));
  skylapse.process.once("exit", (code, signal) => note(`the program ended with ${code ?? signal}`));
});

afterAll(async () => {
  heap.close();
  await skylapse.end();
  removeDataPath(dataPath);
});

const portOf = (url: string) => Number(new URL(url).port);
const auth = frame(JSON.stringify({ type: "auth", token }));
const ping = frame('{"type":"ping","id":"last"}');
const PINGRESP = Buffer.from([0xd0, 0]);
const CONNACK = Buffer.from([0x20, 2]);
/** A CONNACK of MQTT 5 has properties. */
const CONNACK_5 = Buffer.from([0x20]);

const ENTRY_POINTS: readonly [string, Arbitrary<(skylapse: Skylapse) => Delivery>][] = [
  [
    "the WebSocket port before authentication",
    beforeAuth(token).map((bytes) => ({ socket }) => ({ port: portOf(socket), steps: [{ bytes }] })),
  ],
  [
    "the WebSocket port after authentication",
    afterAuth(token).map((bytes) => ({ socket }) => ({
      port: portOf(socket),
      steps: [
        { bytes: Buffer.concat([UPGRADE, auth]), until: "auth_success" },
        { bytes: Buffer.concat([bytes, ping]), until: '"last"' },
      ],
    })),
  ],
  [
    "the MQTT port before CONNECT",
    beforeConnect(token).map((bytes) => ({ mqtt }) => ({ port: portOf(mqtt), steps: [{ bytes }] })),
  ],
  [
    "the MQTT port after CONNECT",
    afterConnect(token).map(({ connect, bytes }) => ({ mqtt }) => ({
      port: portOf(mqtt),
      steps: [
        { bytes: connect, until: CONNACK },
        { bytes: Buffer.concat([bytes, PINGREQ]), until: PINGRESP },
      ],
    })),
  ],
  [
    "the MQTT port before a CONNECT of MQTT 5",
    beforeConnect5(token).map((bytes) => ({ mqtt }) => ({ port: portOf(mqtt), steps: [{ bytes }] })),
  ],
  [
    "the MQTT port after a CONNECT of MQTT 5",
    afterConnect5(token).map(({ connect, bytes }) => ({ mqtt }) => ({
      port: portOf(mqtt),
      steps: [
        { bytes: connect, until: CONNACK_5 },
        { bytes: Buffer.concat([bytes, PINGREQ]), until: PINGRESP },
      ],
    })),
  ],
  [
    "the MQTT-over-WebSocket port before CONNECT",
    beforeConnectInFrames(token).map((bytes) => ({ mqttWs }) => ({ port: portOf(mqttWs), steps: [{ bytes }] })),
  ],
  [
    "the MQTT-over-WebSocket port after CONNECT",
    afterConnectInFrames(token).map(({ connect, bytes }) => ({ mqttWs }) => ({
      port: portOf(mqttWs),
      steps: [
        { bytes: Buffer.concat([MQTT_UPGRADE, connect]), until: CONNACK },
        { bytes: Buffer.concat([bytes, mqttFrame(PINGREQ)]), until: PINGRESP },
      ],
    })),
  ],
];

function residentBytes(): number {
  const status = readFileSync(`/proc/${skylapse.process.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}

/** @returns how many inputs reached their last step */
async function attack(inputs: readonly Delivery[]): Promise<number> {
  const waiting = [...inputs];
  let reached = 0;
  const worker = async () => {
    for (let input = waiting.pop(); input !== undefined && failure === undefined; input = waiting.pop()) {
      underWay.add(input);
      try {
        if (await deliver(input)) reached++;
      } catch (error) {
        note(String(error), [input]);
      }
      underWay.delete(input);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return reached;
}

const MIB = 1024 * 1024;

describe(`random inputs (FUZZ_SEED=${SEED})`, () => {
  it.each(ENTRY_POINTS)(
    "at %s do not crash the program, leak memory or disturb other clients",
    { timeout: TIMEOUT_MS },
    async (entryPoint, inputs) => {
      const count = inputsAt(entryPoint);
      const witness = await startWitness(skylapse);
      const started = performance.now();
      let before = { used: 0, resident: 0 };
      let reached = 0;
      for (let done = 0; done < count && failure === undefined; done += BATCH) {
        // The first measurement follows the first tenth, so that the growth does not include one-time allocations.
        if (before.used === 0 && done >= count / 10) before = { used: await heap.used(), resident: residentBytes() };
        // In batches, so that not all inputs are in memory at once. Each batch derives its seed from SEED.
        const batch = fc.sample(inputs, { seed: SEED + done, numRuns: BATCH });
        reached += await attack(batch.map((input) => input(skylapse)));
      }
      expect(failure).toBeUndefined();
      const seconds = (performance.now() - started) / 1000;
      const after = { used: await heap.used(), resident: residentBytes() };
      const { published, dashboard, subscriber, slowestMs } = await witness.finish();
      if (LONG)
        process.stdout.write(
          `${entryPoint}: ${count} inputs, ${reached} to the end, in ${seconds.toFixed(0)} s; heap ${(before.used / MIB).toFixed(1)} to ${(after.used / MIB).toFixed(1)} MiB, resident ${(before.resident / MIB).toFixed(0)} to ${(after.resident / MIB).toFixed(0)} MiB; the witness published ${published} events; the dashboard received ${dashboard.length}, the subscriber ${subscriber.length}, the slowest after ${slowestMs.toFixed(0)} ms\n`,
        );

      // A few inputs do not reach their last step, because other inputs with the same client id replace their
      // connections.
      expect(reached).toBeGreaterThan(0.9 * count);
      const all = Array.from({ length: published }, (_, index) => index + 1);
      expect({ dashboard, subscriber }).toEqual({ dashboard: all, subscriber: all });
      expect(slowestMs).toBeLessThan(MAX_DELAY_MS);
      expect(after.used - before.used).toBeLessThan(MAX_HEAP_GROWTH_BYTES);
      expect(after.resident - before.resident).toBeLessThan(MAX_RESIDENT_GROWTH_BYTES);
    },
  );
});
