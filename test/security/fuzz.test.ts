import { readFileSync } from "node:fs";
import fc, { type Arbitrary } from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PINGREQ } from "../broker/raw-client.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";
import { type Delivery, deliver } from "./fuzz/deliver.ts";
import { afterConnect, beforeConnect } from "./fuzz/mqtt-inputs.ts";
import { afterAuth, beforeAuth } from "./fuzz/web-socket-inputs.ts";
import { startWitness } from "./fuzz/witness.ts";
import { frame, UPGRADE } from "./raw-web-socket.ts";

/** The short form; `npm run test:long` runs the whole of it. */
const LONG = process.env.LONG_TESTS !== undefined;
const INPUTS_PER_DOOR = LONG ? 25_000 : 600;
/** `FUZZ_SEED` of a failure replays its inputs. */
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);
const BATCH = 200;
const AT_ONCE = 16;
/** What the program's memory may grow by from the first tenth of all inputs to the last. */
const MAX_GROWTH_BYTES = 96 * 1024 * 1024;
/** From an event to its arrival at the dashboard beside, on a machine that does other things too. */
const MAX_DELAY_MS = 5_000;

const dataPath = makeDataPath();
const token = signToken("fuzz", ["dashboard:read", "camera:fuzz:control", "device:fuzz"], 7200);
let skylapse: Skylapse;

beforeAll(async () => {
  const env = {
    JWT_SECRET,
    // Errors of the program, not of its clients: there is to be none.
    LOG_LEVEL: "error",
    MAX_CONNECTIONS_PER_ADDRESS: "0",
    MAX_CONNECTIONS_PER_USER: "0",
    MAX_MESSAGES_PER_SECOND: "0",
    MAX_MQTT_CONNECTIONS_PER_ADDRESS: "0",
    MAX_REQUESTS_PER_MINUTE: "0",
  };
  skylapse = await startSkylapse({ dataPath, env });
});

afterAll(async () => {
  await skylapse.end();
  removeDataPath(dataPath);
});

const portOf = (url: string) => Number(new URL(url).port);
const auth = frame(JSON.stringify({ type: "auth", token }));
const ping = frame('{"type":"ping","id":"last"}');
const PINGRESP = Buffer.from([0xd0, 0]);
const CONNACK = Buffer.from([0x20, 2]);

const DOORS: readonly [string, Arbitrary<(skylapse: Skylapse) => Delivery>][] = [
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
];

/** Resident memory of the program, bytes. */
function residentBytes(): number {
  const status = readFileSync(`/proc/${skylapse.process.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}

/** @returns how many inputs got as far as their last step */
async function attack(inputs: readonly Delivery[]): Promise<number> {
  const waiting = [...inputs];
  let reached = 0;
  const worker = async () => {
    for (let input = waiting.pop(); input !== undefined; input = waiting.pop()) {
      if (await deliver(input)) reached++;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return reached;
}

describe(`${INPUTS_PER_DOOR} inputs of any bytes (FUZZ_SEED=${SEED})`, () => {
  it.each(DOORS)(
    "at %s end no program, hold no memory and disturb nobody",
    { timeout: LONG ? 1_200_000 : 60_000 },
    async (door, inputs) => {
      const witness = await startWitness(skylapse);
      let before = 0;
      let reached = 0;
      for (let done = 0; done < INPUTS_PER_DOOR; done += BATCH) {
        if (before === 0 && done >= INPUTS_PER_DOOR / 10) before = residentBytes();
        // Batches, so that inputs need not all be held at once; each with a seed of its own that follows from the first.
        const batch = fc.sample(inputs, { seed: SEED + done, numRuns: BATCH });
        reached += await attack(batch.map((input) => input(skylapse)));
      }
      const grown = residentBytes() - before;
      const { published, seen, slowestMs } = await witness.finish();
      if (LONG)
        process.stdout.write(
          `${door}: grown by ${grown >> 20} MiB, ${published} events beside, slowest ${slowestMs.toFixed(0)} ms\n`,
        );

      expect(skylapse.process.exitCode).toBeNull();
      expect(skylapse.output().slice(skylapse.output().indexOf("Ctrl-C stops it.") + 17)).toBe("");
      // A few are pushed out by others of their client id before they have begun.
      expect(reached).toBeGreaterThan(0.95 * INPUTS_PER_DOOR);
      expect(seen).toEqual(Array.from({ length: published }, (_, index) => index + 1));
      expect(slowestMs).toBeLessThan(MAX_DELAY_MS);
      expect(grown).toBeLessThan(MAX_GROWTH_BYTES);
    },
  );
});
