import { randomInt } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Journal } from "../../../bridge/journal/journal.ts";
import { startChildProgram } from "../../support/child-program.ts";
import { LONG, TIMEOUT_MS } from "../../support/long-form.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import type { CompactionReport } from "./compaction-child.ts";
import { createLevelPlace } from "./level-place.ts";
import { mqttOf, readLog } from "./mqtt-log-suite.ts";
import { createRedisPlace } from "./redis-place.ts";

const KILLS = LONG ? 60 : 3;
const NUMBERS_PER_RUN = 1_000_000;

let server: RedisServer;

beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.remove());

/** Kills a program in one of its compactions. @returns the number below which all its messages were acknowledged */
async function killDuringCompaction(argument: object): Promise<number> {
  const child = startChildProgram<never, CompactionReport>("bridge/journal/compaction-child", JSON.stringify(argument));
  const left = { compactions: randomInt(2, 6), next: 0 };
  const reached = new Promise<void>((resolve) => {
    child.onMessage(({ next }) => {
      left.next = next;
      if (--left.compactions === 0) resolve();
    });
  });
  await Promise.race([reached, child.ended.then((error) => Promise.reject(error))]);
  await delay(randomInt(0, 15));
  await child.kill();
  return left.next;
}

async function wanted(journal: Journal): Promise<number[]> {
  const { read, missing } = await readLog(mqttOf(journal).publications);
  expect(missing).toEqual([]);
  return read.filter(({ topic }) => topic === "rare").map(({ payload }) => Number.parseInt(payload.toString(), 10));
}

test.each(["LevelDB", "Redis"])(
  "a program that is killed during a compaction in %s loses nothing that is wanted, and nothing comes twice",
  { timeout: TIMEOUT_MS },
  async (store) => {
    const place = store === "LevelDB" ? await createLevelPlace() : await createRedisPlace(server.url);
    try {
      const prefix = "prefix" in place ? place.prefix.replace(/[{}]|:$/g, "") : "";
      const path = "path" in place ? place.path : undefined;
      let size = 0;
      for (let kill = 1; kill <= KILLS; kill++) {
        const first = kill * NUMBERS_PER_RUN;
        const next = await killDuringCompaction({ path, url: server.url, prefix, first });
        expect(next).toBeGreaterThan(first);
        const journal = await place.open();
        const found = await wanted(journal);
        expect(found).toEqual([...new Set(found)].sort((a, b) => a - b));
        const own = found.filter((n) => n >= first && n < next);
        expect(own).toHaveLength((next - first) / 20);
        expect(found.length).toBeGreaterThanOrEqual(size + own.length);
        size = found.length;
        await journal.close();
      }
      expect(place.logged.filter((line) => line.includes("publications"))).toEqual([]);
    } finally {
      await place.dispose();
    }
  },
);
