import { pino } from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import { PageReader } from "../../../bridge/journal/core/page-reader.ts";
import type { Journal } from "../../../bridge/journal/journal.ts";
import { journalKeys } from "../../../bridge/journal/stores/redis/keys.ts";
import { DEFAULT_REDIS_JOURNAL_LIMITS } from "../../../bridge/journal/stores/redis/limits.ts";
import { load } from "../../../bridge/journal/stores/redis/loading.ts";
import { RedisPages } from "../../../bridge/journal/stores/redis/pages.ts";
import type { Connection } from "../../../platform/redis/connection.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { message, positions, range, readAll } from "./messages.ts";
import { createRedisPlace, type RedisPlace } from "./redis-place.ts";

const CHUNKS = 40;
const CAMERA = "camera:north";

let server: RedisServer;
let place: RedisPlace;
let journal: Journal;

beforeAll(async () => {
  server = await startRedis();
  place = await createRedisPlace(server.url);
  // Without recent entries in memory, every page is read from Redis.
  journal = await place.open({ limits: { maxRecentChars: 0 } });
  // Each append writes one chunk.
  for (const _ of range(1, CHUNKS)) await journal.append(message());
});
afterAll(async () => {
  await place.dispose();
  await server.remove();
});

/** From now on, replies over the connection have at most two rows. */
function shortenReplies(connection: Connection): void {
  const send = connection.do.bind(connection);
  connection.do = (command) =>
    send((redis) =>
      command(
        new Proxy(redis, {
          get(target, name) {
            const method: unknown = Reflect.get(target, name);
            if (typeof method !== "function") return method;
            return (...args: unknown[]) => {
              const count = args.indexOf("COUNT");
              if (count >= 0) args[count + 1] = Math.min(Number(args[count + 1]), 2);
              return method.apply(target, args) as unknown;
            };
          },
        }),
      ),
    );
}

test("a reply with fewer rows than requested does not end the reading", async () => {
  const keys = journalKeys(place.prefix);
  const connection = place.redis.bulk;
  shortenReplies(connection);
  await connection.ready(5_000);
  const { view } = await load(connection, keys, { ...DEFAULT_REDIS_JOURNAL_LIMITS, maxRecentChars: 0 }, 10_000);
  const reader = new PageReader(new RedisPages(connection, keys, () => view.channels, pino({ level: "silent" })));
  const page = await reader.replay({ channels: [CAMERA, "dashboard"], after: 0, maxEvents: 100 }, view);
  const whole = await reader.read({ after: 0, maxEvents: 100 }, view);
  expect(positions(page.entries)).toEqual(range(1, CHUNKS));
  expect(positions(whole.entries)).toEqual(range(1, CHUNKS));
});

test("events that the log has lost are a gap, and the events around it are read", async () => {
  const lost = [11, 12, 25];
  await place.admin.xdel(`${place.prefix}journal:log`, ...lost.map((position) => `${position}-0`));
  const first = await journal.replay({ channels: [CAMERA], after: 0 });
  expect(positions(first.entries)).toEqual(range(1, 10));
  expect(first).toMatchObject({ next: 10, done: false });
  const second = await journal.replay({ channels: [CAMERA], after: 10 });
  expect(positions(second.entries)).toEqual(range(13, 24));
  expect(second).toMatchObject({ next: 24, done: false, gap: { after: 10, before: 13 } });
  expect(positions(await readAll(journal, [CAMERA]))).toEqual(range(1, CHUNKS).filter((n) => !lost.includes(n)));
  expect(place.logged.filter((line) => line.includes("journal in redis is damaged")).length).toBe(2);
});
